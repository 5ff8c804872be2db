"""Where the values of a dataset are, and which were never written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cases import write_clean
from usid_files import MAIN

from usid_tasks.errors import FileBusyError
from usid_tasks.records import Storage
from usid_tasks.storage import read_storage
from usid_tasks.usid import read_usid


def stored(path: Path, name: str = "data") -> Storage:
    with h5py.File(path, "r") as file:
        return read_storage(file[name])


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "scan.h5"


def write_virtual(path: Path, *parts: tuple[slice, str, Any]) -> None:
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((12, 5), "f4")
        for rows, name, dataset in parts:
            layout[rows] = h5py.VirtualSource(name, dataset, (6, 5))
        file.create_virtual_dataset("data", layout)


def write_part(path: Path, shape: tuple[int, ...] = (6, 5), name: str = "part") -> None:
    with h5py.File(path, "w") as file:
        file[name] = np.ones(shape, "f4")


@pytest.mark.parametrize(
    ("layout", "how"),
    [
        ("contiguous", {}),
        ("chunked", {"chunks": (4, 2)}),
        ("chunked", {"chunks": (4, 2), "compression": "gzip", "shuffle": True}),
    ],
)
def test_what_is_written_is_written(path: Path, layout: str, how: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.ones((10, 5)), **how)
        file.create_dataset("none", shape=(10, 5), dtype="f4", **how)
        file.create_dataset("empty", shape=(0, 5), dtype="f4", maxshape=(None, 5), chunks=(4, 2))
        file["scalar"] = 1.0
        file["null"] = h5py.Empty("f4")
    assert stored(path).layout == layout
    assert stored(path).unwritten == ()
    assert stored(path, "none").unwritten == ((0, 10),)
    for name in ("empty", "scalar", "null"):
        assert stored(path, name).unwritten == ()
    assert stored(path).filters == (("shuffle", "deflate") if "shuffle" in how else ())


@pytest.mark.parametrize(
    ("written", "unwritten"),
    [
        ([(slice(0, 4), slice(None))], ((4, 10),)),
        ([(slice(4, 8), slice(None))], ((0, 4), (8, 10))),
        ([(slice(None), slice(0, 2))], ((0, 10),)),
        ([(slice(0, 8), slice(None)), (9, 4)], ((8, 10),)),
        ([(slice(0, 5), slice(None))], ((8, 10),)),
    ],
)
def test_rows_that_were_not_written(
    path: Path, written: list[Any], unwritten: tuple[tuple[int, int], ...]
) -> None:
    """A chunk counts as written as a whole: HDF5 does not tell more."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (10, 5), "f4", chunks=(4, 2))
        for region in written:
            data[region] = 1
    assert stored(path).unwritten == unwritten


def test_a_virtual_dataset_finds_its_sources(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_virtual(path, (slice(0, 6), "a.h5", "part"), (slice(6, 12), "b.h5", "part"))
    write_part(path.with_name("a.h5"))
    problems = {part.file: part.problem for part in stored(path).elsewhere}
    assert problems == {"a.h5": "", "b.h5": "no such file"}
    write_part(Path("b.h5"))
    assert not any(part.problem for part in stored(path).elsewhere)
    Path("b.h5").unlink()
    other = path.with_name("other")
    other.mkdir()
    write_part(other / "b.h5")
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(other))
    assert not any(part.problem for part in stored(path).elsewhere)


@pytest.mark.parametrize(
    ("shape", "name", "of_whole", "of_part"),
    [
        ((6, 5), "part", "", ""),
        ((7, 5), "part", "part of shape (7, 5), where 30 values are taken", ""),
        (
            (5, 5),
            "part",
            "part of shape (5, 5), where 30 values are taken",
            "part of shape (5, 5), where a part of (6, 5) is taken",
        ),
        ((6, 5), "other", "no dataset part", "no dataset part"),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_virtual_dataset_needs_all_of_its_source(
    path: Path, shape: tuple[int, int], name: str, of_whole: str, of_part: str, is_whole: bool
) -> None:
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((6, 5), "f4")
        whole = h5py.VirtualSource("a.h5", "part", (6, 5))
        layout[:] = whole if is_whole else h5py.VirtualSource("a.h5", "part", (8, 5))[:6]
        file.create_virtual_dataset("data", layout)
    write_part(path.with_name("a.h5"), shape, name)
    (part,) = stored(path).elsewhere
    assert part.problem == (of_whole if is_whole else of_part)
    with h5py.File(path, "r") as file:
        try:
            is_true = bool(np.all(file["data"][()] == 1))
        except OSError:
            is_true = False
    assert is_true == (not part.problem)


def test_a_virtual_dataset_of_its_own_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["part"] = np.ones((12, 5), "f4")
        layout = h5py.VirtualLayout((12, 5), "f4")
        layout[:] = h5py.VirtualSource(file["part"])
        file.create_virtual_dataset("data", layout)
    assert [(part.file, part.problem) for part in stored(path).elsewhere] == [(".", "")]
    with h5py.File(path, "r+") as file:
        del file["part"]
    assert [part.problem for part in stored(path).elsewhere] == ["no dataset /part"]


def test_what_no_source_fills_was_not_written(path: Path) -> None:
    write_virtual(path, (slice(3, 9), "a.h5", "part"))
    write_part(path.with_name("a.h5"))
    assert stored(path).unwritten == ((0, 3), (9, 12))
    assert [part.problem for part in stored(path).elsewhere] == [""]


def test_a_source_that_is_being_written_is_busy(path: Path) -> None:
    """HDF5 itself would show fill values."""
    write_clean(path)
    write_part(path.with_name("a.h5"), (12, 5))
    with h5py.File(path, "r+") as file:
        attrs = dict(file[MAIN].attrs)
        del file[MAIN]
        layout = h5py.VirtualLayout((12, 5), "f4")
        layout[:] = h5py.VirtualSource("a.h5", "part", (12, 5))
        file.create_virtual_dataset(MAIN, layout)
        for name, value in attrs.items():
            file[MAIN].attrs[name] = value
    assert list(read_usid(path).mains) == [MAIN]
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'r+');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path.with_name("a.h5"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(FileBusyError, match=r"a\.h5"):
            read_usid(path)
        writer.communicate()


def test_external_storage_is_looked_for_where_hdf5_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(path, "w") as file:
        parts = [("a.raw", 8, 40), ("b.raw", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("data", (10, 2), "f4", external=parts)
    path.with_name("a.raw").write_bytes(b"1" * 48)
    path.with_name("b.raw").write_bytes(b"1" * 39)
    problems = [part.problem for part in stored(path).elsewhere]
    assert problems == [f"no such file at {Path(name).absolute()}" for name in ("a.raw", "b.raw")]
    monkeypatch.setenv("HDF5_EXTFILE_PREFIX", "${ORIGIN}")
    assert [part.problem for part in stored(path).elsewhere] == ["", "holds 39 of 40 bytes"]
    os.truncate(path.with_name("a.raw"), 20)
    assert next(part.problem for part in stored(path).elsewhere) == "holds 12 of 40 bytes"
