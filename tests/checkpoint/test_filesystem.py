"""A network file system is recognised, wherever it is mounted."""

import pytest

from mpipool.checkpoint.filesystem import file_system, shared_memory_works

MOUNTS = r"""/dev/sda / ext4 rw 0 0
proc /proc proc rw 0 0
/dev/sdb /work xfs rw 0 0
server:/export /work/shared nfs4 rw,vers=4.2 0 0
mgs@tcp:/fs /scratch lustre rw,flock 0 0
/dev/sdc /a\040disk xfs rw 0 0
first /twice ext4 rw 0 0
second /twice fuse.sshfs rw 0 0
wekafs /new wekafs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/run.db", "ext4", True),
        ("/work/run.db", "xfs", True),
        ("/work/shared/a/run.db", "nfs4", False),
        ("/work/sharedness/run.db", "xfs", True),
        ("/scratch/run.db", "lustre", False),
        ("/a disk/run.db", "xfs", True),
        ("/twice/run.db", "fuse.sshfs", False),
        ("/new/run.db", "wekafs", False),
    ],
)
def test_the_mount_nearest_to_the_path_decides(path, kind, local):
    assert file_system(path, MOUNTS) == kind
    assert shared_memory_works(path, MOUNTS) == local


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to("/scratch")
    assert file_system(str(tmp_path / "link" / "run.db"), MOUNTS) == "lustre"


def test_this_machines_mounts_are_read():
    assert file_system("/proc/self") == "proc"
