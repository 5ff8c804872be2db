"""Bars on a terminal, silence elsewhere."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from usid_tasks.progress import BarProgress, NullProgress, Progress, open_progress


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def work(progress: Progress) -> None:
    progress.begin("looking")
    progress.begin("converting", files=0, size_bytes=0)
    progress.expect(files=4, size_bytes=4 * 1024**2)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(progress.advance, files=1, size_bytes=1024**2)
    progress.note("a [red]line[/red]\nof text")


def test_bars_count_files_and_bytes():
    console = terminal()
    with BarProgress(console) as progress:
        work(progress)
    told = console.file.getvalue()
    assert "converting" in told
    assert "4 of 4 files" in told
    assert "4.0 MiB of 4.0 MiB" in told
    assert r"a [red]line[/red]\nof text" in told
    assert "looking" not in told.rpartition("converting")[2]


def test_what_is_not_counted_is_not_shown():
    console = terminal()
    with BarProgress(console) as progress:
        progress.begin("validating", files=2)
        progress.advance(files=1, size_bytes=5)
    told = console.file.getvalue()
    assert "1 of 2 files" in told
    assert "MiB" not in told


def test_silence_where_nobody_looks(capsys):
    with open_progress() as progress:
        assert isinstance(progress, NullProgress)
        work(progress)
    assert capsys.readouterr() == ("", "")


def test_bars_on_standard_error_of_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with open_progress() as progress:
        assert isinstance(progress, BarProgress)
        assert progress._bars.console.stderr
    with open_progress(is_quiet=True) as progress:
        assert isinstance(progress, NullProgress)
