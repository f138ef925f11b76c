"""A wire without MPI: what was begun is complete when the test says so."""

from collections import deque
from types import SimpleNamespace


class Failed(Exception):
    """What MPI raises."""


class Request:
    def __init__(self, memory, size=0):
        self.memory, self.size = memory, size
        self.done = self.cancelled = self.fails = self.stuck = False

    def Test(self, status=None):  # noqa: N802 - mpi4py's name
        if self.fails:
            self.fails, self.done = False, True  # as MPI: the request is gone then
            raise Failed
        if status is not None:
            status.size = self.size
        return self.done or self.cancelled

    def Cancel(self):  # noqa: N802 - mpi4py's name
        self.cancelled = not self.stuck


class Communicator:
    """Records what is asked of it."""

    def __init__(self):
        self.sent, self.posted, self.arrived = [], [], deque()
        self.dead = set()

    def Isend(self, buffer, to, tag):  # noqa: N802 - mpi4py's name
        if to in self.dead:
            raise Failed
        request = Request(buffer[0])
        self.sent.append((to, tag, request))
        return request

    def Irecv(self, buffer, sender, tag):  # noqa: N802 - mpi4py's name
        if sender in self.dead:
            raise Failed
        request = Request(buffer[0])
        self.posted.append((sender, tag, request))
        return request

    def Improbe(self, source, tag, status):  # noqa: N802 - mpi4py's name
        if not self.arrived:
            return None
        found = self.arrived.popleft()
        if found is Failed:
            raise Failed
        status.source, status.tag, status.size, data = found
        return Message(data)

    def Iprobe(self, source, tag):  # noqa: N802 - mpi4py's name
        return bool(self.arrived)


class Message:
    def __init__(self, data):
        self.data = data
        self.request = Request(None)

    def Irecv(self, buffer):  # noqa: N802 - mpi4py's name
        self.request.done = self.data is not None
        if self.data is not None:
            buffer[0][: len(self.data)] = self.data
        return self.request


class Status:
    source = tag = size = 0

    def Get_source(self):  # noqa: N802 - mpi4py's name
        return self.source

    def Get_tag(self):  # noqa: N802 - mpi4py's name
        return self.tag

    def Get_count(self, byte):  # noqa: N802 - mpi4py's name
        return self.size


MPI = SimpleNamespace(BYTE=None, ANY_SOURCE=-1, ANY_TAG=-1, Status=Status, Exception=Failed)
