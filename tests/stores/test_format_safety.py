"""A file of another format is there whole and right, or not at all."""

from __future__ import annotations

import math
import os
import signal as signals
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_files import (
    OF_SIGNALS,
    SUFFIXES,
    TESTS,
    read_by_rosettasciio,
    read_nsid,
    settings,
    write,
)
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from store_cases import CASES
from usid_files import Side, line, write_file

from usid_tasks.errors import (
    ClaimedError,
    FileBusyError,
    NoMainDatasetError,
    RefusedError,
    VerificationError,
)
from usid_tasks.stores import beside, hspy, nsid, streaming, zspy
from usid_tasks.stores.signals import Passage, chunk_within

pytestmark = pytest.mark.parametrize("form", OF_SIGNALS)


@pytest.fixture
def source(path: Path) -> Path:
    """Return a file of several Main datasets."""
    return CASES["several Mains"](path)


def is_whole(form: str, path: Path) -> bool:
    """Return whether a file is one of four signals with values."""
    found = read_nsid(path) if form == "nsid" else read_by_rosettasciio(path)
    return len(found) == 5 and all(np.asarray(one["data"]).size for one in found)


def entries_of(folder: Path) -> set[str]:
    """Return what a folder holds, our own folder aside."""
    return {item.name for item in folder.iterdir()} - {".usid"}


def left_over(folder: Path) -> list[Path]:
    """Return the files that were begun and are still there."""
    return [*(folder / ".usid" / "formats").glob("*/*")]


def test_what_is_there_is_refused(form: str, source: Path, tmp_path: Path) -> None:
    dest = write(form, source).path
    before = read_by_rosettasciio(dest) if form != "nsid" else read_nsid(dest)
    with pytest.raises(RefusedError, match="--overwrite"):
        write(form, source, dest)
    again = write(form, source, dest, overwrite=True).path
    after = read_by_rosettasciio(again) if form != "nsid" else read_nsid(again)
    assert len(before) == len(after)
    assert is_whole(form, again)
    assert entries_of(tmp_path) == {source.name, dest.name}
    assert left_over(tmp_path) == []


def test_the_source_and_other_things_are_never_replaced(
    form: str, source: Path, tmp_path: Path
) -> None:
    content = source.read_bytes()
    with pytest.raises(RefusedError, match="the source itself"):
        write(form, source, source, overwrite=True)
    assert source.read_bytes() == content
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_text("mine")
    with pytest.raises(RefusedError, match="something else"):
        write(form, source, folder, overwrite=True)
    assert (folder / "kept").read_text() == "mine"


def test_no_room_no_memory_no_dataset(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match="--memory"):
        write(form, source, settings=settings(memory=8))
    with pytest.raises(NoMainDatasetError, match="nothing at this path"):
        write(form, source, datasets=("/nowhere",))
    with pytest.raises(NoMainDatasetError, match="not sound"):
        write(form, source, datasets=("/Measurement_001/Channel_000/Raw_Data",))
    monkeypatch.setattr(beside, "free_bytes", lambda _: 1000)
    with pytest.raises(RefusedError, match="1000 B free"):
        write(form, source)
    assert [item.name for item in tmp_path.iterdir()] == [source.name]


def test_one_dataset_of_several(form: str, source: Path) -> None:
    wanted = "/Measurement_000/Channel_001/Raw_Data"
    written = write(form, source, datasets=(wanted.strip("/"),))
    assert written.datasets == (wanted,)
    found = read_nsid(written.path) if form == "nsid" else read_by_rosettasciio(written.path)
    assert [one["original_metadata"]["dataset_path"] for one in found] == [wanted]


def test_a_wrong_cell_is_found(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder: Any = zspy._ZarrArray if form == "zspy" else streaming.ChunkedDataset
    right = holder.write

    def wrong(self: Any, region: Any, cells: np.ndarray) -> None:
        cells = cells.copy()
        cells.reshape(-1).view(np.uint8)[-1] ^= 1
        right(self, region, cells)

    monkeypatch.setattr(holder, "write", wrong)
    with pytest.raises(VerificationError, match="cells"):
        write(form, source)
    assert entries_of(tmp_path) == {source.name}
    assert left_over(tmp_path) == []


def test_lost_metadata_are_found(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "hspy":
        import rsciio.hspy

        right = rsciio.hspy.file_writer

        def forget(path: str, told: Any, **options: Any) -> None:
            right(path, {**told, "original_metadata": {}}, **options)

        monkeypatch.setattr(rsciio.hspy, "file_writer", forget)
    else:
        module = {"zspy": zspy, "nsid": nsid}[form]
        monkeypatch.setattr(module, "_put_level", lambda *_: None)
    with pytest.raises(VerificationError):
        write(form, source)
    assert entries_of(tmp_path) == {source.name}


def test_a_source_that_changes_is_not_put_in_place(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"hspy": hspy, "zspy": zspy, "nsid": nsid}[form]
    right = module._fill

    def touched(*given: Any) -> None:
        right(*given)
        os.utime(source, ns=(1, 1))

    monkeypatch.setattr(module, "_fill", touched)
    with pytest.raises(FileBusyError, match="changed while it was read"):
        write(form, source)
    assert entries_of(tmp_path) == {source.name}


CODE = """
import os, signal, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from pathlib import Path
import format_files
from usid_tasks.stores import beside, streaming, zspy
_, _, form, source, dest, moment = sys.argv
left = int(moment)

def counted(holder, name):
    right = getattr(holder, name)
    def call(*given, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return right(*given, **options)
    setattr(holder, name, call)

counted(zspy._ZarrArray if form == "zspy" else streaming.ChunkedDataset, "write")
counted(beside, "_settle")
counted(beside, "_refuse_meanwhile")
counted(Path, "rename" if form == "zspy" else "replace")  # zarr-python replaces files
format_files.write(form, Path(source), Path(dest), overwrite=True)
"""
"""Ends itself at a moment: before a value is written, all is flushed, or it is renamed."""

LAST = 12
"""More moments than there are: five values, two before the end, and each rename."""


@pytest.mark.slow
@pytest.mark.parametrize("is_replacing", [False, True], ids=["new", "over another"])
def test_a_kill_leaves_all_or_nothing(
    form: str, source: Path, tmp_path: Path, is_replacing: bool
) -> None:
    dest = tmp_path / f"out{SUFFIXES[form]}"
    if is_replacing:
        write(form, source, dest, datasets=("/Measurement_000/Channel_001/Raw_Data",))
    paths = os.pathsep.join([str(TESTS / "stores"), str(TESTS), str(TESTS.parent)])
    ends = []
    for moment in range(LAST + 1):
        done = subprocess.run(
            [sys.executable, "-c", CODE, paths, form, str(source), str(dest), str(moment)],
            capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert done.returncode in (0, -signals.SIGKILL), done.stderr
        ends.append(done.returncode)
        if dest.exists():
            found = read_nsid(dest) if form == "nsid" else read_by_rosettasciio(dest)
            assert len(found) == (5 if done.returncode == 0 else 1)
        elif done.returncode == 0 or (is_replacing and form != "zspy"):
            raise AssertionError(f"nothing is there after moment {moment}")
        if done.returncode == 0:
            break
    assert ends[-1] == 0
    assert ends.count(-signals.SIGKILL) >= 6
    assert is_whole(form, dest)
    assert left_over(tmp_path) == []


def test_what_was_moved_aside_is_put_back(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure between two renames leaves the former file, not a gap."""
    dest = write(form, source).path

    def fails(place: Path) -> None:
        raise RefusedError(place, "fails", "here")

    monkeypatch.setattr(beside, "_refuse_meanwhile", fails)
    monkeypatch.setattr(Path, "replace", lambda _self, other: fails(other))
    with pytest.raises(RefusedError, match="fails"):
        write(form, source, overwrite=True)
    assert is_whole(form, dest)
    assert left_over(tmp_path) == []


def test_two_do_not_make_the_same(form: str, source: Path) -> None:
    dest = source.with_name(f"out{SUFFIXES[form]}")
    with beside.made_beside(dest, settings(), overwrite=False) as other:
        other.path.write_bytes(b"first")
        with pytest.raises(ClaimedError):
            write(form, source, dest)
    assert dest.read_bytes() == b"first"


@few(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    edges=st.lists(st.integers(1, 40), min_size=4, max_size=4),
    cells=st.integers(1, 500),
)
def test_regions_are_whole_chunks(form: str, shape: Any, edges: Any, cells: int) -> None:
    block = [min(edge, size) for edge, size in zip(edges, shape, strict=False)]
    chunk = chunk_within(block, shape, 1, cells)
    assert math.prod(chunk) <= cells or max(chunk) == 1
    assert all(b % c == 0 or b == n for b, c, n in zip(block, chunk, shape, strict=True))
    passage = Passage(chunk, tuple(block), 1)
    seen = np.zeros(shape, int)
    for region in passage.regions(shape):
        seen[region] += 1
    assert (seen == 1).all()


def test_many_regions_in_little_memory(form: str, path: Path) -> None:
    """The values of a file that is cut into regions are all there."""
    side = Side(np.arange(300).reshape(300, 1), ["X"], ["nm"])
    write_file(path, side, line("Bias", np.linspace(0, 1, 700)), dtype="f8", chunks=(7, 100))
    dest = write(form, path, settings=settings(memory=2**20, threads=2)).path
    (found,) = read_nsid(dest) if form == "nsid" else read_by_rosettasciio(dest)
    import h5py

    with h5py.File(path) as file:
        raw = file["Measurement_000/Channel_000/Raw_Data"][()]
    np.testing.assert_array_equal(found["data"], raw, strict=True)
