"""Progress is a bar on a terminal and a line now and then elsewhere."""

import io

from drivers import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_there_is_a_line_at_the_end_and_one_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.shown(10, "ingest", "files") as show:
        for done in range(10):
            show(done + 1, 0, 10)
        show(10, 0, 10)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    assert lines[-1] == "ingest: 10 of 10 files"
    assert lines.count(lines[-1]) == 1


def test_failures_are_said(capsys):
    with progress.shown(2, "single frame", "CCDs") as show:
        show(1, 1, 2)
    assert capsys.readouterr().err == "single frame: 2 of 2 CCDs, 1 failed\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.shown(4, "single frame", "CCDs") as show:
        show(3, 1, 4)
    assert "4/4" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
