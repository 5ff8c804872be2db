"""A file is there whole and verified, or it is not there; what was there stays until then."""

from __future__ import annotations

import errno
import json
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
from coming_back import assert_told
from rechunk_stores import made_store, raster, small_settings
from usid_files import MAIN, line, write_file

from usid_tasks.back import streams
from usid_tasks.convert import convert_file
from usid_tasks.errors import (
    ClaimedError,
    FileBusyError,
    RefusedError,
    UsidError,
    VerificationError,
)
from usid_tasks.settings import Settings, load_settings
from usid_tasks.stores import usid
from usid_tasks.stores.usid import write_usid


def assert_nothing_left(folder: Path) -> None:
    """Fail if anything but claims lies in the folder's own place."""
    assert not [file for file in (folder / ".usid").rglob("*") if file.is_file()]


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "back/scan.h5"
    out.parent.mkdir()
    out.write_bytes(b"mine")
    with pytest.raises(RefusedError, match="is there already"):
        write_usid(store, out, settings=small_settings())
    assert out.read_bytes() == b"mine"
    assert not (out.parent / ".usid").exists()


def test_a_file_is_replaced_when_asked(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "back.h5"
    out.write_bytes(b"mine")
    made = write_usid(store, out, settings=small_settings(), overwrite=True)
    assert_told(tmp_path / "scan.h5", made)
    assert made.out == out
    assert made.size_bytes == out.stat().st_size
    assert made.mains == (MAIN,)
    assert_nothing_left(tmp_path)


def test_the_source_itself_may_be_replaced(tmp_path: Path) -> None:
    """The way back uses no copy of the source."""
    store = made_store(tmp_path)
    source = tmp_path / "scan.h5"
    keep = source.rename(tmp_path / "keep.h5")
    assert_told(keep, write_usid(store, source, settings=small_settings()))


def test_a_file_in_use_is_not_replaced(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "back.h5"
    with h5py.File(out, "w") as file:
        file["x"] = 1
        file.flush()
        with pytest.raises(FileBusyError):
            write_usid(store, out, settings=small_settings(), overwrite=True)
    with h5py.File(out) as file:
        assert file["x"][()] == 1


@pytest.mark.parametrize("place", ["folder", "inside"])
def test_places_that_are_none_are_refused(tmp_path: Path, place: str) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "folder" if place == "folder" else store / "inside.h5"
    (tmp_path / "folder").mkdir()
    before = sorted(store.rglob("*"))
    with pytest.raises(RefusedError):
        write_usid(store, out, settings=small_settings(), overwrite=True)
    assert sorted(store.rglob("*")) == before


@pytest.mark.parametrize("defect", ["no receipt", "other metadata", "other layout"])
def test_stores_that_are_none_are_refused(tmp_path: Path, defect: str) -> None:
    store = made_store(tmp_path)
    receipt = tmp_path / "scan.receipt.json"
    if defect == "no receipt":
        receipt.unlink()
    else:
        root = store / "zarr.json"
        told = json.loads(root.read_text())
        told["attributes"]["usid_layout" if defect == "other layout" else "more"] = 99
        root.write_text(json.dumps(told))
    if defect == "other layout":
        from usid_tasks.stores.zarr import metadata_digest

        record = json.loads(receipt.read_text())
        record["extra"]["metadata_digest"] = metadata_digest(store)
        receipt.write_text(json.dumps(record))
    expected = {
        "no receipt": "no receipt", "other metadata": "metadata", "other layout": "the layout 99",
    }  # fmt: skip
    with pytest.raises(RefusedError, match=expected[defect]):
        write_usid(store, tmp_path / "back.h5", settings=small_settings())
    assert not (tmp_path / "back.h5").exists()


def test_two_at_once_never_make_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "back.h5"
    plain = usid.write_hdf5

    def meanwhile(*arguments: object) -> object:
        monkeypatch.undo()
        with pytest.raises(ClaimedError):
            write_usid(store, out, settings=small_settings())
        return plain(*arguments)

    monkeypatch.setattr(usid, "write_hdf5", meanwhile)
    assert_told(tmp_path / "scan.h5", write_usid(store, out, settings=small_settings()))


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made_store(tmp_path)
    out = tmp_path / "back.h5"
    plain = usid.check_hdf5

    def meanwhile(*arguments: object) -> None:
        plain(*arguments)
        out.write_bytes(b"theirs")

    monkeypatch.setattr(usid, "check_hdf5", meanwhile)
    with pytest.raises(RefusedError, match="meanwhile"):
        write_usid(store, out, settings=small_settings())
    assert out.read_bytes() == b"theirs"
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("what", ["a value", "an attribute", "a filter", "a dataset"])
def test_what_does_not_read_back_is_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The file is spoiled between its making and its check."""
    store = made_store(tmp_path, chunks=(20, 25), compression="gzip")
    out = tmp_path / "back.h5"
    out.write_bytes(b"mine")
    plain = usid.write_hdf5

    def spoiled(source: object, objects: object, path: Path, means: object) -> object:
        made = plain(source, objects, path, means)
        with h5py.File(path, "r+") as file:
            if what == "a value":
                file[MAIN][479, 49] += 1
            elif what == "an attribute":
                file[MAIN].attrs["units"] = "mA"
            elif what == "a dataset":
                file["more"] = 1
            else:
                values, attrs = file[MAIN][()], dict(file[MAIN].attrs)
                del file[MAIN]
                file.create_dataset(MAIN, data=values, chunks=(20, 25)).attrs.update(attrs)
        return made

    monkeypatch.setattr(usid, "write_hdf5", spoiled)
    expected = {
        "a value": "digest", "an attribute": "units", "a filter": "usid_storage",
        "a dataset": "the node /more",
    }  # fmt: skip
    with pytest.raises(VerificationError, match=expected[what]):
        write_usid(store, out, settings=small_settings(), overwrite=True)
    assert out.read_bytes() == b"mine"
    assert_nothing_left(tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made_store(tmp_path)
    written = []

    def full(fd: int, data: object, at: int) -> int:
        written.append(at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(streams.os, "pwrite", full)
    with pytest.raises(UsidError, match="No space left") as caught:
        write_usid(store, tmp_path / "back.h5", settings=small_settings())
    assert "Free space" in caught.value.remedy
    assert written
    assert not (tmp_path / "back.h5").exists()
    monkeypatch.undo()
    assert_nothing_left(tmp_path)


def test_too_little_space_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made_store(tmp_path)
    monkeypatch.setattr(usid, "free_bytes", lambda _: 50_000)
    with pytest.raises(RefusedError, match="KiB free, expected"):
        write_usid(store, tmp_path / "back.h5", settings=small_settings())
    assert not (tmp_path / "back.h5").exists()


@pytest.mark.parametrize(("free", "is_enough"), [(1_600_000, True), (1_000_000, False)])
def test_a_compressed_source_needs_no_more_space_than_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_enough: bool
) -> None:
    """Of 4 MB of zeros, no more than a MiB of slack and what the source took is asked for."""
    data = np.zeros((480, 2000), "f4")
    store = made_store(tmp_path, n=2000, data=data, chunks=(48, 2000), compression="gzip")
    monkeypatch.setattr(usid, "free_bytes", lambda _: free)
    if is_enough:
        assert_told(
            tmp_path / "scan.h5",
            write_usid(store, tmp_path / "back.h5", settings=small_settings()),
        )
        assert (tmp_path / "back.h5").stat().st_size < 200_000
    else:
        with pytest.raises(RefusedError, match="free, expected"):
            write_usid(store, tmp_path / "back.h5", settings=small_settings())


LIMITED = """
import resource, sys
sys.path[:0] = sys.argv[4:]
from usid_tasks.errors import UsidError
from usid_tasks.settings import Settings
from usid_tasks.stores.usid import write_usid
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_usid(sys.argv[1], sys.argv[2], settings=Settings())
except UsidError as error:
    print(error)
    sys.exit(7)
"""


WAYS: list[dict[str, object]] = [
    {}, {"chunks": (64, 50)}, {"chunks": (8, 50), "compression": "lzf"},
]  # fmt: skip
LIMITS = [40_000, 4096, 90_000]


@pytest.mark.parametrize(
    ("limit", "how"),
    [
        pytest.param(limit, how, marks=() if row == column else pytest.mark.slow)
        for row, limit in enumerate(LIMITS)
        for column, how in enumerate(WAYS)
    ],
)
def test_a_disk_that_takes_no_more_leaves_nothing(
    tmp_path: Path, how: dict[str, object], limit: int
) -> None:
    """Real writes fail at some byte, HDF5's own as well as ours."""
    data = np.random.default_rng(0).standard_normal((480, 50), dtype="f4")
    store = made_store(tmp_path, data=data, **how)
    out = tmp_path / "back.h5"
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store), str(out), str(limit), *sys.path],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 7, run.stderr
    assert str(tmp_path) in run.stdout
    assert not out.exists()
    assert not (tmp_path / ".usid/back").exists() or not list((tmp_path / ".usid/back").glob("*/*"))


CODE = """
import sys
sys.path[:0] = sys.argv[3:]
from usid_tasks.settings import load_settings
from usid_tasks.stores.usid import write_usid
settings = load_settings(env={}, overrides={"convert": {"memory": "32 MiB"}})
write_usid(sys.argv[1], sys.argv[2], settings=settings, overwrite=True)
"""


def start(store: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(store), str(out), *sys.path],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def begun_bytes(folder: Path) -> int:
    """Return how much of a file that is being made has reached the disk or its cache."""
    found = 0
    for path in (folder / ".usid/back").glob("*/*.h5"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:  # renamed meanwhile
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_seeded_moments_the_former_file_stays(tmp_path: Path) -> None:
    spectra = line("Bias", np.linspace(-1, 1, 4096))
    data = np.random.default_rng(3).standard_normal((64 * 64, 4096), dtype="f4")
    source = write_file(tmp_path / "scan.h5", raster(64, 64), spectra, data=data)
    store = convert_file(source, tmp_path / "scan.zarr", settings=Settings()).store
    out = tmp_path / "back/scan.h5"
    out.parent.mkdir()
    out.write_bytes(b"former")
    chosen = random.Random(20261122)
    n_killed = 0
    for turn in range(20):
        wanted = chosen.uniform(0, 1.0) * data.nbytes
        run = start(store, out)
        while run.poll() is None and begun_bytes(out.parent) < wanted:
            time.sleep(0.001)
        time.sleep(chosen.uniform(0, 0.3) if turn % 2 else 0.0)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            n_killed += 1
        run.communicate()
        if out.read_bytes() != b"former":  # it was whole already
            assert_told(source, write_told(store, tmp_path / f"again{turn}.h5", out))
            out.write_bytes(b"former")
    assert n_killed >= 12
    last = start(store, out)
    _, told = last.communicate(timeout=200)
    assert last.returncode == 0, told.decode()
    assert_told(source, write_told(store, tmp_path / "again.h5", out))
    assert_nothing_left(out.parent)


def write_told(store: Path, again: Path, out: Path) -> usid.UsidResult:
    """Return what is told of a file, once it is the one that an undisturbed run makes."""
    made = write_usid(store, again, settings=load_settings(env={}))
    assert again.read_bytes() == out.read_bytes()
    again.unlink()
    return usid.UsidResult(**{**vars(made), "out": out})
