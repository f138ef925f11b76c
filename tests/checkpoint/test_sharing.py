"""Colleagues go on with each other's runs, and nobody else's files are loaded: with real users.

The users are made in a mount namespace, where `/etc/passwd` and `/etc/group` are the test's own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from checkpoint.run_builders import opened
from mpipool.checkpoint.results import publish_result, read_result
from mpipool.checkpoint.trust import ALONE, Trust
from mpipool.errors import CheckpointError, UsageError

PASSWD = """root:x:0:0::/root:/bin/sh
alice:x:2001:2001::/:/bin/sh
bob:x:2002:2002::/:/bin/sh
eve:x:2003:2003::/:/bin/sh
"""
GROUP = """root:x:0:
alice:x:2001:
bob:x:2002:
eve:x:2003:
survey:x:3000:alice,bob
"""
STORY = '''
import encodings.ascii, os, stat, sys, traceback
from pathlib import Path
import grp, pwd, tempfile
from checkpoint.run_builders import *
from mpipool.checkpoint.results import publish_result, read_result
from mpipool.checkpoint.trust import ALONE, Trust
from mpipool.errors import CheckpointError, UsageError
from mpipool.executor.running import output

UIDS = {"alice": 2001, "bob": 2002, "eve": 2003}
GROUPS = {"alice": [3000], "bob": [3000], "eve": []}
folder = Path(sys.argv[1])
path, results = str(folder / "rerun" / "run.db"), str(folder / "rerun" / "results")

def as_user(name, deed):
    """Do something in a process of this user, and give what it returns."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(GROUPS[name])
            os.setgid(UIDS[name])
            os.setuid(UIDS[name])
            os.umask(0o022)
            os.write(write, repr(deed()).encode())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as pipe:
        return eval(pipe.read() or "'it failed'")

def refused(**changes):
    try:
        opened(path, **changes)
    except (CheckpointError, UsageError) as error:
        return str(error)

def begin(group):
    def deed():
        os.makedirs(os.path.dirname(path))
        held = opened(path, group=group)
        spec = publish_result(results, "ab.1", b"alice's")
        with output(folder / "rerun" / "calexp" / "v1" / "one.fits") as part:
            part.write_text("pixels")
        held.append([record(0, digest=key(0), result_file=spec)])
        return spec  # and is killed
    return deed

def go_on(spec, group="survey"):
    def deed():
        held = opened(path, group=group)
        [found] = held.find([key(0)])
        result = read_result(results, found.result_file, Trust.of(group))
        with output(folder / "rerun" / "calexp" / "v1" / "two.fits") as part:
            part.write_text("pixels")
        spec = publish_result(results, "cd.1", b"bob's")
        held.append([record(1, digest=key(1), result_file=spec)])
        held.close("done")
        return held.token, result
    return deed

def mode(name):
    status = os.stat(folder / "rerun" / name)
    return f"{stat.S_IMODE(status.st_mode):o} {pwd.getpwuid(status.st_uid).pw_name} " \\
        + grp.getgrgid(status.st_gid).gr_name

def read(name, group):
    def deed():
        try:
            return read_result(results, f"{name}:5:00", Trust.of(group))
        except CheckpointError as error:
            return str(error)
    return deed
'''


@pytest.fixture
def folder():
    """A folder which everybody may enter, as no folder of pytest's."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tell(folder):
    """Run a story about the users, which prints what came of it."""

    def run(text):
        (folder / "passwd").write_text(PASSWD)
        (folder / "group").write_text(GROUP)
        command = (
            f"mount --bind {folder}/passwd /etc/passwd && mount --bind {folder}/group /etc/group"
            ' && exec "$@"'
        )
        told = subprocess.run(
            ["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", STORY + text,
             str(folder)],
            capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        return told.stdout.splitlines()

    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("users can't be made here: that takes root and mount namespaces")
    return run


def test_a_shared_run_is_made_for_the_group_and_gone_on_with_by_a_colleague(tell):
    lines = tell("""
spec = as_user("alice", begin("survey"))
for name in (".", "run.db", "run.db-wal", "results", "results/ab.1", "calexp/v1"):
    print(name, mode(name))
print(as_user("bob", go_on(spec)))
print(as_user("alice", go_on(spec)))
print(mode("results/cd.1"), "|", mode("run.db"))
""")
    assert lines == [
        ". 2775 alice survey",
        "run.db 660 alice survey",
        "run.db-wal 660 alice survey",
        "results 2770 alice survey",
        "results/ab.1 660 alice survey",
        "calexp/v1 2775 alice survey",
        """(2, b"alice's")""",
        """(3, b"alice's")""",
        "660 alice survey | 660 alice survey",
    ]


def test_a_shared_run_is_nobodys_who_does_not_trust_the_group_or_is_not_in_it(tell):
    bob, eve, stranger, nobody = tell("""
as_user("alice", begin("survey"))
print(as_user("bob", refused))
print(as_user("eve", refused))
print(as_user("eve", lambda: refused(group="survey")))
print(as_user("bob", lambda: refused(group="nobody knows it")))
""")
    assert "belongs to user 2001, not to you (2002)" in bob
    assert "--group NAME" in bob
    assert "you may not write" in eve or "not to you (2003)" in eve
    assert stranger == "you are no member of the Unix group 'survey', which --group names"
    assert nobody.startswith("there is no Unix group 'nobody knows it'")


def test_a_run_that_was_not_shared_can_be_by_its_owner_alone(tell):
    before, owner, after, result = tell("""
spec = as_user("alice", begin(""))
print(as_user("bob", lambda: refused(group="survey")))
print(as_user("alice", lambda: opened(path, group="survey").close("done")))
print(as_user("bob", lambda: opened(path, group="survey").token))
print(as_user("bob", lambda: read_result(results, spec, Trust.of("survey"))))
""")
    assert "its owner must start the run once with --group survey" in before or (
        "you may not write to it" in before
    )
    assert owner == "None"
    assert after == "3"
    assert eval(result) == b"alice's"


def test_in_a_shared_run_a_file_of_a_stranger_or_for_strangers_is_refused(tell):
    of_eve, other_group, for_all, fine = tell("""
spec = as_user("alice", begin("survey"))
def plant(name, uid, gid, bits):
    Path(results, name).write_bytes(b"bomb!")
    os.chown(Path(results, name), uid, gid)
    os.chmod(Path(results, name), bits)
plant("aa.1", 2003, 3000, 0o660)
plant("bb.1", 2001, 2003, 0o664)
plant("cc.1", 2001, 3000, 0o666)
plant("dd.1", 2001, 3000, 0o660)
for name in ("aa.1", "bb.1", "cc.1", "dd.1"):
    print(as_user("bob", read(name, "survey")))
""")
    assert "belongs to user 2003" in of_eve
    assert "nor to a member of group survey" in of_eve
    assert "others may write to it (mode 0664)" in other_group
    assert "others may write to it (mode 0666)" in for_all
    assert "checksum" in fine


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["open", "sticky"])
def test_a_folder_in_which_anybody_could_replace_the_database_is_refused(tmp_path, mode):
    above = tmp_path / "above"
    (above / "folder").mkdir(parents=True)
    for where in (above / "folder", above):
        where.chmod(mode)
        if mode & 0o1000:
            opened(above / "folder" / "run.db").close("done")
        else:
            with pytest.raises(CheckpointError, match=r"others may write to it \(mode 0777\)"):
                opened(above / "folder" / "run.db")
            assert not (above / "folder" / "run.db").exists()
        where.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_group_that_may_write_to_it_is_refused(tmp_path):
    place = tmp_path / "folder"
    place.mkdir()
    os.chown(place, -1, 12345)
    place.chmod(0o770)
    with pytest.raises(CheckpointError, match="chmod g-w"):
        opened(place / "run.db")
    place.chmod(0o1770)  # its members can't replace what is not theirs
    opened(place / "run.db").close("done")
    place.chmod(0o750)
    os.chown(place, 12345, -1)
    with pytest.raises(CheckpointError, match="belongs to user 12345"):
        opened(place / "run.db")


def test_a_group_of_the_users_own_may_write_to_the_folder(tmp_path):
    import grp
    import pwd

    me = pwd.getpwuid(os.geteuid())
    if grp.getgrgid(me.pw_gid).gr_name != me.pw_name:
        pytest.skip("users here have no group of their own")
    os.chown(tmp_path, -1, me.pw_gid)
    tmp_path.chmod(0o770)
    opened(tmp_path / "run.db").close("done")


def test_who_trusts_nobody_trusts_no_number_that_is_no_group(tmp_path):
    spec = publish_result(str(tmp_path / "results"), "ab.1", b"data")
    assert Trust.of("") == ALONE
    assert read_result(str(tmp_path / "results"), spec, ALONE) == b"data"
    with pytest.raises(UsageError, match="no Unix group"):
        Trust.of("there\0is none")
