"""Whether somebody else could have written a file whose pickles we are about to load."""

from __future__ import annotations

import os
import stat

from mpipool.errors import CheckpointError


def require_trusted(path: str, status: os.stat_result | None = None) -> None:
    """Refuse a file or folder that others could have written, as ssh refuses such a key.

    Parameters
    ----------
    path : str
        What to look at.
    status : os.stat_result, optional
        What is known of it, of an open file for example.

    Raises
    ------
    CheckpointError
        If its owner is neither this user nor root, or its group or others may write to it.
    """
    status = status or os.stat(path)
    if status.st_uid not in {os.geteuid(), 0}:
        raise CheckpointError(
            path,
            f"it belongs to user {status.st_uid}, not to you ({os.geteuid()}), and what it holds"
            " would be run as code: use a database of your own",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CheckpointError(
            path,
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), and what it holds"
            " would be run as code: if you trust what is in it, chmod go-w",
        )
