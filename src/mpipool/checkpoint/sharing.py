"""Makes the files of a run which a Unix group shares such that each member can go on with it."""

from __future__ import annotations

import os
import stat
from typing import Final

from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointError

FILE: Final = 0o660
FOLDER: Final = stat.S_ISGID | 0o070
"""What a shared folder must have: so its files get its group, and SQLite can make its journals."""


def share_folder(folder: str, trust: Trust) -> bool:
    """Give a folder to the group, if it is ours; what others may do stays as it is.

    Returns
    -------
    bool
        Whether it was not the group's before.

    Raises
    ------
    CheckpointError
        If it isn't, and the group can't work in it.
    """
    return _share(folder, trust, FOLDER, "rwxs")


def share_file(path: str, trust: Trust) -> bool:
    """Give a file to the group, as `share_folder`."""
    return _share(path, trust, FILE, "rw")


def _share(path: str, trust: Trust, wanted: int, words: str) -> bool:
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_gid == trust.gid and mode & wanted == wanted:
        return False
    try:
        os.chown(path, -1, trust.gid)
        os.chmod(path, mode | wanted)  # after that: giving a folder away clears its setgid bit
    except OSError as error:
        raise CheckpointError(
            path,
            f"group {trust.group} can't work with it ({error.strerror}); its owner must start the"
            f" run once with --group {trust.group}, or say chgrp {trust.group} and chmod g+{words}",
        ) from error
    return True
