"""What is on disk when the power fails: made from what a process did to its files.

A file's content is on disk as it was when the file was last synced, and a name when its folder
was. What was done since may be there too, or not: file systems differ.
"""

import os
import random
import shutil
from pathlib import Path


class File:
    """What a process sees of a file, and what is surely on disk."""

    def __init__(self):
        self.seen, self.synced = bytearray(), b""

    def write(self, at, data):
        self.resize(max(at, len(self.seen)))
        self.seen[at : at + len(data)] = data

    def resize(self, size):
        del self.seen[size:]
        self.seen.extend(bytes(size - len(self.seen)))


class Disk:
    """Files and folders by name; None stands for a folder."""

    def __init__(self, root):
        self.root, self.seen, self.synced = root, {}, {}

    def do(self, what, one, two, number, data):  # noqa: C901 - a table
        file = self.seen.get(one)
        match what:
            case "c":
                file = self.seen.setdefault(one, File())
                if number:
                    file.resize(0)
            case "m":
                self.seen[one] = None
            case "r":
                self.seen[two] = self.seen.pop(one)
            case "l":
                self.seen[two] = file
            case "u":
                del self.seen[one]
            case "s" if one == self.root or (one in self.seen and file is None):
                self.synced = _beside(self.synced, one) | _within(self.seen, one)
            case _ if file is None:
                assert one.endswith(" (deleted)")
            case "s":
                file.synced = bytes(file.seen)
            case "t":
                file.resize(number)
            case "w":
                file.write(number, data)

    def left(self, rng):
        """What is left; without a generator, only what is surely there."""
        names = self.synced
        for folder in (self.root, *(name for name, file in self.seen.items() if file is None)):
            if rng and rng.random() < 0.5:
                names = _beside(names, folder) | _within(self.seen, folder)
        for name, file in sorted(names.items()):
            if all(str(above) in {self.root, *names} for above in Path(name).parents if
                   str(above).startswith(self.root)):  # fmt: skip
                yield name, file and (file.seen if rng and rng.random() < 0.5 else file.synced)


def _within(names, folder):
    return {name: file for name, file in names.items() if os.path.dirname(name) == folder}


def _beside(names, folder):
    return {name: file for name, file in names.items() if os.path.dirname(name) != folder}


def acknowledgement(items):
    """The line of the log which says that these items were said to be on disk."""
    return f"a {','.join(map(str, items))}\t\t0\t0\n".encode()


def read_log(path):
    """Read what was done: (what, path, other path, number, data)."""
    done = []
    with open(path, "rb") as log:
        for line in log:
            one, two, number, size = line[2:].decode().rstrip("\n").split("\t")
            done.append((chr(line[0]), one, two, int(number), log.read(int(size))))
    return done


def lay_out(done, root, seed):
    """Put into a folder what is left of all that was done; return what was acknowledged."""
    disk, acknowledged = Disk(root), []
    for what, one, *rest in done:
        if what == "a":
            acknowledged += map(int, one.split(","))
        else:
            disk.do(what, one, *rest)
    shutil.rmtree(root)
    os.mkdir(root, 0o700)
    for name, content in disk.left(None if seed is None else random.Random(seed)):
        if content is None:
            os.mkdir(name, 0o700)
        else:
            Path(name).write_bytes(content)
            os.chmod(name, 0o600)
    return acknowledged
