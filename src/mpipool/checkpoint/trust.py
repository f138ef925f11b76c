"""Whether somebody else could have written a file whose pickles we are about to load.

By default only this user and root are trusted, as ssh trusts only them with a key. A run that
colleagues share trusts the members of one Unix group besides.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final

from mpipool.errors import CheckpointError, UsageError

_CODE: Final = "and what it holds would be run as code"
_OTHERS_WRITE: Final = stat.S_IWOTH
_GROUP_WRITES: Final = stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose files are taken.

    Attributes
    ----------
    group : str
        Name of a Unix group whose members are trusted too; empty if there is none.
    gid : int
        Its number; -1 if there is none.
    """

    group: str = ""
    gid: int = -1

    @classmethod
    def of(cls, group: str) -> Trust:
        """Trust a group, of which this user must be a member, or none if it is empty.

        Raises
        ------
        UsageError
            If there is no such group, or this user is none of its members.
        """
        if not group:
            return cls()
        import grp  # executors of runs which are not shared do without

        try:
            gid = grp.getgrnam(group).gr_gid
        except (KeyError, ValueError):
            raise UsageError(f"there is no Unix group {group!r}, which --group names") from None
        if gid not in {os.getegid(), *os.getgroups()} and os.geteuid():
            raise UsageError(f"you are no member of the Unix group {group!r}, which --group names")
        return cls(group, gid)

    def require(self, path: str, status: os.stat_result | None = None) -> None:
        """Refuse a file or folder that somebody else could have written.

        Parameters
        ----------
        path : str
            What to look at.
        status : os.stat_result, optional
            What is known of it, of an open file for example.

        Raises
        ------
        CheckpointError
            If its owner is not trusted, or somebody who is not may write to it.
        """
        status = status or os.stat(path)
        self._require_owner(path, status)
        if status.st_mode & _OTHERS_WRITE or self._is_of_another_group(status):
            raise CheckpointError(path, self._writable(status, "chmod go-w"))

    def require_place(self, folder: str) -> None:
        """Refuse a folder in which somebody else could replace a file of ours by another.

        Raises
        ------
        CheckpointError
            As `require`; of the folders above it, only if everybody may write to them.
        """
        status = os.stat(folder)
        self._require_owner(folder, status)
        if self._is_of_another_group(status) and not _is_shared_safely(status):
            raise CheckpointError(folder, self._writable(status, "chmod g-w"))
        while True:
            if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
                raise CheckpointError(folder, self._writable(status, "chmod o-w"))
            folder, below = os.path.dirname(folder), folder
            if folder == below:
                return
            status = os.stat(folder)

    def _require_owner(self, path: str, status: os.stat_result) -> None:
        owner = status.st_uid
        if owner in {os.geteuid(), 0} or (self.group and _is_member(owner, self.gid)):
            return
        members = f" nor to a member of group {self.group}" if self.group else ""
        raise CheckpointError(
            path,
            f"it belongs to user {owner}, not to you ({os.geteuid()}){members}, {_CODE}: use a"
            " database of your own, or --group NAME if all of a Unix group share this one",
        )

    def _is_of_another_group(self, status: os.stat_result) -> bool:
        return bool(status.st_mode & _GROUP_WRITES) and status.st_gid != self.gid

    def _writable(self, status: os.stat_result, remedy: str) -> str:
        return (
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), {_CODE}: if you"
            f" trust what is in it, {remedy}"
        )


ALONE: Final = Trust()
"""Nobody is trusted but this user and root."""


def _is_member(user: int, gid: int) -> bool:
    import pwd

    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return False
    return gid in os.getgrouplist(entry.pw_name, entry.pw_gid)


def _is_shared_safely(status: os.stat_result) -> bool:
    """Whether a group that may write to a folder can do no harm there.

    With the sticky bit its members can't replace files of others. And where each user has a group
    of the same name, folders are writable to it by default, and nobody else is in it.
    """
    if status.st_mode & stat.S_ISVTX:
        return True
    import grp
    import pwd

    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
