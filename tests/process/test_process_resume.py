"""A run that was killed is taken up: what is done is not done again, and the bits are the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from process_cases import contents, small, source

from usid_tasks.process import ProcessOutcome, passes, process_file
from usid_tasks.process.partial import Completed, States
from usid_tasks.process.steps import RowSource


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


CASES = {
    "background": {"dim": "Frequency", "degree": 2},
    "svd": {"n_components": 3, "method": "randomised", "oversampling": 2},
    "kmeans": {"n_clusters": 3},
    "reduce": {"dims": ["X"], "statistics": ["mean", "std"]},
}


def run(path, tool, **how):
    (done,) = process_file(path, tool, CASES[tool], settings=small(**how))
    return done


def killed(monkeypatch, path, tool, owner, name, count, **how):
    """Run until a method was called so many times; the last call is carried out."""
    plain, calls = getattr(owner, name), []

    def call(*given):
        plain(*given)
        calls.append(given)
        if len(calls) >= count:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, call)
        with pytest.raises(Killed):
            run(path, tool, **how)


def marked(folder: Path) -> int:
    """Return how many positions the partial file of a folder tells to be done."""
    (file,) = folder.glob(".usid/process/*/results.h5")
    with h5py.File(file, locking=False) as partial:
        return int(partial["results/completed_positions"][()].sum())


@pytest.fixture
def undisturbed(tmp_path):
    def make(tool):
        folder = tmp_path / "whole"
        folder.mkdir()
        return contents(run(source(folder / "scan.h5", "snake", "f8", (9, 11)), tool).file)

    return make


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_positions_that_are_done_are_not_read_again(
    tmp_path, monkeypatch, undisturbed, count, workers
):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, "background", Completed, "mark", count, workers=workers)
    assert not path.with_name("scan.h5.results.h5").exists()
    n_done = marked(tmp_path)
    assert n_done >= 7 * count - 6
    read = []
    plain = RowSource.read

    def count_rows(rows, first, last):
        read.append(last - first)
        return plain(rows, first, last)

    monkeypatch.setattr(RowSource, "read", count_rows)
    done = run(path, "background", workers=workers)
    assert (done.outcome, done.n_kept) == (ProcessOutcome.RESUMED, n_done)
    assert sum(read) == done.n_done == 99 - n_done
    monkeypatch.undo()
    assert contents(done.file) == undisturbed("background")
    assert not list(tmp_path.glob(".usid/process/*"))


@pytest.mark.parametrize(("tool", "count"), [("svd", 1), ("svd", 3), ("kmeans", 2), ("kmeans", 5)])
def test_passes_that_are_made_are_not_made_again(tmp_path, monkeypatch, undisturbed, tool, count):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, tool, States, "save", count)
    told = []
    plain = passes._make_pass

    def make(run, work, states, saved):
        told.append(saved.n_stages)
        return plain(run, work, states, saved)

    monkeypatch.setattr(passes, "_make_pass", make)
    done = run(path, tool)
    assert done.outcome is ProcessOutcome.RESUMED
    assert not told or told[0] == count
    monkeypatch.undo()
    assert contents(done.file) == undisturbed(tool)


@pytest.mark.parametrize("tool", ["svd", "kmeans", "reduce"])
@pytest.mark.parametrize("count", [2, 9, 18])
def test_a_pass_is_taken_up_where_it_was(tmp_path, monkeypatch, undisturbed, tool, count):
    monkeypatch.setattr(passes, "is_due", lambda *_: True)
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    count = min(count, 14) if tool == "reduce" else count
    killed(monkeypatch, path, tool, States, "save", count)
    read = []
    plain = RowSource.read
    monkeypatch.setattr(
        RowSource, "read", lambda rows, *ends: (read.append(ends), plain(rows, *ends))[1]
    )
    done = run(path, tool, workers=1)
    assert done.outcome is ProcessOutcome.RESUMED
    if tool == "reduce":
        assert len(read) == 15 - count
    monkeypatch.undo()
    assert contents(done.file) == undisturbed(tool)


def test_positions_of_the_last_pass_are_kept(tmp_path, monkeypatch, undisturbed):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, "svd", Completed, "mark", 4)
    n_done = marked(tmp_path)
    done = run(path, "svd")
    assert done.n_kept == n_done >= 22
    assert contents(done.file) == undisturbed("svd")


def test_a_damaged_state_is_not_taken_up(tmp_path, monkeypatch, undisturbed):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, "svd", States, "save", 2)
    for file in tmp_path.glob(".usid/process/*/*.npz"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    done = run(path, "svd")
    assert done.outcome is ProcessOutcome.COMPUTED
    assert contents(done.file) == undisturbed("svd")


def test_another_size_of_blocks_begins_passes_anew(tmp_path, monkeypatch):
    path = source(tmp_path / "scan.h5", "raster", "f8", (40, 50))
    killed(monkeypatch, path, "svd", States, "save", 2, memory="1 GiB")
    monkeypatch.setattr("usid_tasks.process.blocks.MOST_BYTES", 2**13)
    done = run(path, "svd")
    assert done.outcome is ProcessOutcome.COMPUTED


def test_killed_between_publishing_and_clearing_up_it_is_found(tmp_path, monkeypatch):
    path = source(tmp_path / "scan.h5")

    def no_more(workplace):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("usid_tasks.process.partial.Workplace.remove", no_more)
        with pytest.raises(Killed):
            run(path, "background")
    assert list(tmp_path.glob(".usid/process/*"))
    done = run(path, "background")
    assert done.outcome is ProcessOutcome.FOUND
    assert not list(tmp_path.glob(".usid/process/*"))


def test_what_is_left_of_a_source_that_is_no_more_is_removed(tmp_path, monkeypatch):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, "background", Completed, "mark", 3)
    killed(monkeypatch, path, "svd", States, "save", 1)
    other = source(tmp_path / "other.h5", "snake", "f8", (9, 12))
    killed(monkeypatch, other, "svd", States, "save", 1)
    with h5py.File(path, "r+") as file:
        file["Measurement_000/Channel_000/Raw_Data"][...] = 1
    assert len(list(tmp_path.glob(".usid/process/*"))) == 3
    done = run(path, "background")
    assert (done.outcome, done.n_done) == (ProcessOutcome.COMPUTED, 99)
    (left,) = tmp_path.glob(".usid/process/*")
    assert run(other, "svd").outcome is ProcessOutcome.RESUMED
    assert not left.exists()


def test_equal_sources_side_by_side_have_places_of_their_own(tmp_path, monkeypatch):
    paths = [source(tmp_path / name, "snake", "f8", (9, 11)) for name in ("a.h5", "b.h5")]
    for path in paths:
        killed(monkeypatch, path, "background", Completed, "mark", 3)
    assert len(list(tmp_path.glob(".usid/process/*"))) == 2
    for path in paths:
        done = run(path, "background")
        assert (done.outcome, done.file.name) == (
            ProcessOutcome.RESUMED, f"{path.name}.results.h5"
        )  # fmt: skip


def test_a_partial_file_can_be_read_at_any_moment(tmp_path, monkeypatch):
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    killed(monkeypatch, path, "background", Completed, "mark", 3)
    (file,) = tmp_path.glob(".usid/process/*/results.h5")
    done = run(source(_other(tmp_path), "snake", "f8", (9, 11)), "background")
    with h5py.File(file) as partial, h5py.File(done.file) as whole:
        is_done = partial["results/completed_positions"][()] == 1
        assert 0 < is_done.sum() < 99
        one, other = partial["results/Corrected"][()], whole[done.group]["Corrected"][()]
        assert np.array_equal(one[is_done], other[is_done])


def _other(folder):
    inner = folder / "other"
    inner.mkdir()
    return inner / "scan.h5"


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from process_cases import small
from usid_tasks.process import passes, process_file
passes.is_due = lambda elapsed_s, _: elapsed_s > 0.01
from test_process_resume import CASES
from usid_tasks.process import blocks
blocks.MOST_BYTES = 2**15
if __name__ == "__main__":
    path, tool, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    process_file(path, tool, CASES[tool], settings=small(workers=workers))
"""


def begin(path, tool, workers=2):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), tool, str(workers), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
    )


def progress_of(folder: Path, offset: dict[Path, int]) -> int:
    """Return what a run has come to: positions marked, and states saved."""
    count = 0
    with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
        for file in folder.glob(".usid/process/*/results.h5"):
            if file not in offset:
                with h5py.File(file, locking=False) as partial:
                    offset[file] = partial["results/completed_positions"].id.get_offset()
            with file.open("rb") as stream:
                stream.seek(offset[file])
                count += stream.read(4000).count(b"\1")
        for file in folder.glob(".usid/process/*/state.json"):
            count += int(file.stat().st_mtime_ns // 10**7 % 10**6)
    return count


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("tool", ["background", "svd"])
def test_killed_twenty_times_the_file_is_the_same(tmp_path, tool):
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    for folder in (whole, disturbed):
        folder.mkdir()
        source(folder / "scan.h5", "snake", "f8", (50, 80))
    assert begin(whole / "scan.h5", tool).wait() == 0
    path, results = disturbed / "scan.h5", disturbed / "scan.h5.results.h5"
    chance, kills, at = random.Random(20), 0, []
    while kills < 20:
        offset: dict[Path, int] = {}
        process = begin(path, tool)
        before, steps = progress_of(disturbed, offset), chance.randint(1, 6)
        seen = 0
        while process.poll() is None and seen < steps:
            now = progress_of(disturbed, offset)
            seen += now != before
            before = now
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
            at.append(before)
        process.wait()
        if results.exists():  # begun anew: what matters is a kill, wherever it comes
            assert contents(results) == contents(whole / "scan.h5.results.h5")
            results.unlink()
    assert len(set(at)) > 10
    assert begin(path, tool).wait() == 0
    assert contents(results) == contents(whole / "scan.h5.results.h5")
    assert not list(disturbed.glob(".usid/process/*"))
    assert not list(disturbed.glob(".usid/writing/*"))


FATAL = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from process_cases import small
from usid_tasks.process import process_file, publishing
from usid_tasks.writing import replacing

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

owner, name = {"rename": (replacing.os, "rename")}.get(sys.argv[2], (publishing, sys.argv[2]))
plain = getattr(owner, name)

def call(*given, **more):
    is_ours = name != "rename" or str(given[1]).endswith("scan.h5")
    if is_ours and sys.argv[4] == "before":
        die()
    made = plain(*given, **more)
    if is_ours:
        die()
    return made

setattr(owner, name, call)
path = Path(sys.argv[1])
settings = small(writable_roots=(path.parent,))
process_file(path, "background", {"dim": "Frequency"}, in_place=True, settings=settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step", ["copy_file", "_copy_in", "_write_record", "_compare", "check_former", "rename"]
)
def test_killed_while_publishing_in_place(tmp_path, step, when):
    """At every step the source is there whole: as it was, or with all of the results."""
    path = source(tmp_path / "scan.h5", "snake", "f8", (9, 11))
    before = path.read_bytes()
    process = subprocess.run(
        [sys.executable, "-c", FATAL, str(path), step, str(Path(__file__).parent), when],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, check=False,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL
    is_published = (step, when) == ("rename", "after")
    assert (path.read_bytes() == before) is not is_published
    settings = small(writable_roots=(tmp_path,))
    (done,) = process_file(
        path, "background", {"dim": "Frequency"}, in_place=True, settings=settings
    )
    wanted = ProcessOutcome.FOUND if is_published else ProcessOutcome.RESUMED
    assert (done.outcome, done.n_done) == (wanted, 0)
    assert done.group.endswith("Raw_Data-background_000")
    assert not list(tmp_path.glob(".usid/process/*"))
    left = {file.name for file in tmp_path.glob(".usid/writing/*/*")}
    assert left <= {"lock"}  # the next writer takes it over
