"""Comm: who am I, without MPI, and what it does with a communicator."""

from __future__ import annotations

import pickle

import pytest

from mpipool.ctrl_pool.comm import Comm


class Message:
    def __init__(self, value):
        self.value = value

    def recv(self, status=None):
        return self.value


class Communicator:
    """What a rank of two sees; nothing comes the first two times it looks."""

    def __init__(self, mail=()):
        self.mail, self.looks, self.sent, self.freed = list(mail), 0, [], False

    def Dup(self):
        return self

    def Get_rank(self):
        return 1

    def Get_size(self):
        return 2

    def improbe(self, source, tag, status):
        self.looks += 1
        return Message((source, tag, self.mail.pop(0))) if self.looks > 2 else None

    def send(self, value, dest, tag=0):
        self.sent.append((value, dest, tag))

    def bcast(self, value, root):
        return value, root

    def Ibarrier(self):
        return self

    def Test(self):
        self.looks += 1
        return self.looks > 2

    def Free(self):
        self.freed = True

    def allreduce(self, value):
        return 2 * value


@pytest.fixture
def _not_launched(monkeypatch):
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("mpipool.ctrl_pool.joint.started", lambda: False)


@pytest.mark.usefixtures("_not_launched")
def test_without_a_launcher_one_is_alone():
    assert (Comm().rank, Comm().size) == (0, 1)


@pytest.mark.usefixtures("_not_launched")
def test_who_one_is_is_known_without_mpi(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "3")
    monkeypatch.setenv("PMI_SIZE", "8")
    monkeypatch.setattr("mpipool.ctrl_pool.comm.importlib", None)
    assert (Comm().Get_rank(), Comm().Get_size()) == (3, 8)


def test_a_communicator_is_duplicated_and_asked():
    inner = Communicator()
    comm = Comm(inner)
    assert (comm.rank, comm.size) == (1, 2)
    assert comm.allreduce(4) == 8
    assert comm.broadcast("x", root=1) == ("x", 1)
    comm.Free()
    assert inner.freed


def test_receiving_sleeps_between_looks(monkeypatch):
    naps = []
    monkeypatch.setattr("mpipool.ctrl_pool.comm.time.sleep", naps.append)
    assert Comm(Communicator(["mail"]), recvSleep=0.7).recv(source=4, tag=5) == (4, 5, "mail")
    assert naps == [0.7, 0.7]


def test_a_barrier_sleeps_between_looks(monkeypatch):
    naps = []
    monkeypatch.setattr("mpipool.ctrl_pool.comm.time.sleep", naps.append)
    Comm(Communicator(), barrierSleep=0.3).Barrier()
    assert naps == [0.3, 0.3]


def test_scattered_items_are_sent_one_by_one():
    inner = Communicator(["mine"])
    assert Comm(inner).scatter(["zero", "one"], root=1, tag=9) == "one"
    assert inner.sent == [("zero", 0, 9)]
    assert Comm(inner, recvSleep=0).scatter(None, root=0, tag=9) == (0, 9, "mine")


@pytest.mark.usefixtures("_not_launched")
def test_where_it_is_sent_it_is_that_process_own():
    sent = pickle.loads(pickle.dumps(Comm(Communicator(), recvSleep=0.5)))
    assert (sent.rank, sent.size) == (0, 1)
