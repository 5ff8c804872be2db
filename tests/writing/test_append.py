"""One more Measurement: what was there stays as it was, whatever happens meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal as signals
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from agreement import assert_file_agrees
from usid_files import MAIN, Side, channel, line, write_file, write_main
from written_signals import assert_file_holds, signal

from usid_tasks import file_writer, validate_file
from usid_tasks.errors import NotHDF5Error, RefusedError, VerificationError
from usid_tasks.writing import measurements, replacing
from usid_tasks.writing.former import check_former, read_former
from usid_tasks.writing.structure import next_measurement


def main_of(measurement: int) -> str:
    return f"/Measurement_{measurement:03d}/Channel_000/Raw_Data"


def test_a_signal_is_added_and_nothing_else_changes(write):
    first, second = signal(), signal({"Y": 2}, {"Bias": 7}, "i2")
    write(first)
    path = write(second)
    assert_file_holds(path, first)
    assert_file_holds(path, second, main_of(1))
    assert_file_agrees(path, ways=[None])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "Measurement_000"),
        (["Measurement_000"], "Measurement_001"),
        (["Measurement_001", "Measurement_007"], "Measurement_008"),
        (["Measurement_999"], "Measurement_1000"),
        (["Measurement_", "Measurement_1a", "measurement_5", b"\xff", "Other"], "Measurement_000"),
    ],
)
def test_the_number_is_one_more_than_the_highest(names, expected):
    assert next_measurement(names) == expected


def test_numbers_are_not_used_again_below_the_highest(write, path):
    for _ in range(3):
        write(signal())
    with h5py.File(path, "r+") as file:
        del file["Measurement_001"]
    write(signal())
    with h5py.File(path) as file:
        assert set(file) == {"Measurement_000", "Measurement_002", "Measurement_003"}


@pytest.mark.parametrize("replace", [True, False])
def test_only_replace_replaces(write, replace):
    write(signal(dtype="f8"))
    path = write(signal(dtype="i4"), replace=replace)
    with h5py.File(path) as file:
        assert len(file) == 2 - replace
        assert file[MAIN].dtype == ("i4" if replace else "f8")


def rich_file(path: Path, **how: Any) -> Path:
    """Write what HDF5 files hold besides: every layout, links, references, text, odd types."""
    with h5py.File(path, "w", **how) as file:
        group = channel(file)
        main = write_main(
            group, position=line("X", np.arange(4.0)), spectroscopic=line("V", [1, 2])
        )
        file["compressed"] = np.arange(1000)
        file.create_dataset("chunked", data=np.arange(1000.0), chunks=(100,), compression="gzip")
        file.create_dataset("chunked once", (100,), "f4", chunks=(10,))[5] = 1
        file.create_dataset("never written", (100,), "f4")
        file.create_dataset("empty", data=h5py.Empty("f4"))
        file["texts"] = np.array(["a", "long " * 100], object)
        file["runs"] = np.array([np.arange(3), np.arange(2)], h5py.vlen_dtype("i4"))
        file["references"] = np.array([main.ref, group.ref], h5py.ref_dtype)
        file["scalar"] = 7.5
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        file.create_dataset("compact", data=np.arange(5), dcpl=compact)
        file["type"] = np.dtype([("a", "i4"), ("b", "f8", 2)])
        file["soft"] = h5py.SoftLink("/texts")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["outside"] = h5py.ExternalLink("other.h5", "/a")
        file["again"] = file["scalar"]
        file.create_group(b"no UTF-8: \xb5")
        file[b"nor this: \xff"] = 7
        group.attrs["region"] = main.regionref[1:3]
        main.attrs["note"] = "µ"
        virtual = h5py.VirtualLayout((1000,), "f8")
        virtual[:] = h5py.VirtualSource(path.name, "chunked", (1000,))
        file.create_virtual_dataset("virtual", virtual)
    return path


HOW = (
    {"libver": "earliest"},
    {"libver": "latest"},
    {"userblock_size": 1024},
    {"fs_strategy": "page"},
)


@pytest.mark.parametrize("how", HOW, ids=str)
def test_any_hdf5_file_can_be_added_to(write, path, how):
    rich_file(path, **how)
    write(signal())
    assert_file_holds(path, signal(), main_of(1))
    with h5py.File(path) as file:
        assert file["virtual"][7] == 7
        assert file["texts"].asstr()[1] == "long " * 100
        names = {"never written", "dangling", "outside", "type", "again", b"nor this: \xff"}
        assert set(file) > names
    assert "Measurement_001" not in {found.path for found in validate_file(path)}


@pytest.mark.parametrize("mark", [b"SNOD", b"TREE", b"HEAP", b"OHDR", b"GCOL"])
def test_a_damaged_file_is_not_added_to(path, mark):
    rich_file(path, libver="latest" if mark == b"OHDR" else "earliest")
    content = path.read_bytes()
    assert mark in content
    path.write_bytes(content.replace(mark, b"????"))
    before = path.read_bytes()
    with pytest.raises(NotHDF5Error):
        file_writer(path, signal())
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def spoil(path: Path, what: str) -> None:
    """Change one thing of a copy."""
    with h5py.File(path, "r+") as file:
        if what in ("compressed", "compact", "scalar"):
            file[what][...] = 99
        elif what == "chunked":
            values = file["chunked"][:]
            values[3] = -1
            file["chunked"][:] = values
        elif what == "texts":
            file["texts"][0] = "b"
        elif what == "attribute":
            file[MAIN].attrs["note"] = "m"
        elif what == "group":
            del file["runs"]
        elif what == "link":
            del file["soft"]
        elif what == "new name":
            file["more"] = 1
        elif what == "root attribute":
            file.attrs["more"] = 1


SPOILED = (
    "compressed", "compact", "scalar", "chunked", "texts", "attribute", "group", "link",
    "new name", "root attribute",
)  # fmt: skip


@pytest.mark.parametrize("what", SPOILED)
def test_any_change_of_what_was_there_is_found(tmp_path, what):
    original = rich_file(tmp_path / "a.h5")
    (tmp_path / "copies").mkdir()
    copied = tmp_path / "copies" / "a.h5"
    shutil.copy(original, copied)
    with h5py.File(copied, "r+") as file:
        file.create_group("Measurement_001")
    check_former(read_former(original), copied, new="Measurement_001")
    spoil(copied, what)
    with pytest.raises(VerificationError, match="is not in the copy as it is in the file"):
        check_former(read_former(original), copied, new="Measurement_001")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("layout", [{}, {"chunks": (3, 2)}])
@pytest.mark.parametrize("exists", [False, True])
def test_a_value_that_reads_back_otherwise_stops_it(path, monkeypatch, layout, exists):
    if exists:
        file_writer(path, signal())
    before = path.read_bytes() if exists else None
    write_values = measurements.write_values

    def and_spoil(file, made, contents, *, scratch):
        written = write_values(file, made, contents, scratch=scratch)
        with h5py.File(file) as opened:
            main = opened[made.path].id
            offset = main.get_chunk_info(1).byte_offset if layout else main.get_offset()
        flip(file, offset + 5)
        return written

    monkeypatch.setattr(measurements, "write_values", and_spoil)
    with pytest.raises(
        VerificationError, match=r"Raw_Data: the .* cells from .* Nothing was changed"
    ):
        file_writer(path, signal(), **layout)
    assert (path.read_bytes() if path.exists() else None) == before
    assert [item.name for item in path.parent.iterdir()] == [path.name] * exists


SPOILING = {
    "an attribute": lambda file: file["Measurement_000"].attrs.__setitem__("General-title", "no"),
    "a lost attribute": lambda file: file["Measurement_000"].attrs.__delitem__("General-title"),
    "a value": lambda file: file[MAIN].parent["Position_Values"].__setitem__((0, 0), 8),
    "an index": lambda file: file[MAIN].parent["Position_Indices"].__setitem__((0, 0), 1),
    "a label": lambda file: (
        file[MAIN].parent["Position_Values"].attrs.__setitem__("units", np.array([b"m", b"m"]))
    ),
    "a quantity": lambda file: file[MAIN].attrs.__setitem__("quantity", "no"),
    "a reference": lambda file: file[MAIN].attrs.__delitem__("Position_Indices"),
}


@pytest.mark.parametrize("spoiling", SPOILING.values(), ids=SPOILING)
def test_a_table_or_attribute_that_reads_back_otherwise_stops_it(path, monkeypatch, spoiling):
    write_values = measurements.write_values

    def and_spoil(file, *rest, **more):
        written = write_values(file, *rest, **more)
        with h5py.File(file, "r+") as opened:
            spoiling(opened)
        return written

    monkeypatch.setattr(measurements, "write_values", and_spoil)
    with pytest.raises(VerificationError):
        file_writer(path, signal(metadata={"General": {"title": "yes"}}))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("why", ["cannot clone", "cannot copy in the kernel"])
def test_a_copy_is_made_by_whatever_way_there_is(write, path, monkeypatch, why):
    write(signal({"Y": 300}, {"Bias": 400}))
    monkeypatch.setattr(replacing, "_clone", lambda source, dest: False)
    if why == "cannot copy in the kernel":

        def refuse(*_: int) -> int:
            raise OSError(95, "not supported")

        monkeypatch.setattr(replacing.os, "copy_file_range", refuse)
    write(signal())
    assert_file_holds(path, signal({"Y": 300}, {"Bias": 400}))
    assert_file_holds(path, signal(), main_of(1))


def test_a_copy_may_be_a_reference_to_the_same_bytes(write, path, monkeypatch):
    """As Btrfs and XFS answer FICLONE; then there need not be the room of a whole copy."""
    large = signal({"Y": 300}, {"Bias": 4000})
    write(large)

    def clone(dest: int, request: int, source: int) -> int:
        assert request == 0x40049409
        assert os.fstat(source).st_ino == path.stat().st_ino
        os.write(dest, os.pread(source, path.stat().st_size, 0))
        return 0

    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(replacing.shutil, "disk_usage", lambda _: usage._replace(free=2 * 2**20))
    with pytest.raises(RefusedError, match=r"2\.0 MiB are free"):
        write(signal())
    monkeypatch.setattr(fcntl, "ioctl", clone)
    write(signal())
    assert_file_holds(path, large)
    assert_file_holds(path, signal(), main_of(1))


def test_a_file_is_flushed_before_its_name_and_the_folder_after(path, monkeypatch):
    told: list[str] = []
    rename = os.rename

    def fsync(fd: int) -> None:
        told.append(f"flush {Path(f'/proc/self/fd/{fd}').readlink().name}")

    def and_tell(source: Path, dest: Path) -> None:
        told.append(f"rename {Path(source).name} to {Path(dest).name}")
        rename(source, dest)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", and_tell)
    for _ in range(2):
        file_writer(path, signal())
    once = ["flush file", f"rename file to {path.name}", f"flush {path.parent.name}"]
    assert told == once * 2


# kills

CODE = """
import json, os, signal as signals, sys, threading
paths, path, moment = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.path[:0] = paths
from written_signals import signal
import usid_tasks
import usid_tasks.rosetta.writer, usid_tasks.writing.measurements

passed, is_begun, lock = 0, False, threading.Lock()

def count(frame, event, arg):
    global passed, is_begun
    if not any(part in frame.f_code.co_filename for part in ("usid_tasks/writing", "rosetta")):
        return None
    is_begun = is_begun or frame.f_code.co_name == "staged"  # before, nothing is on disk
    if event == "line" and is_begun:
        with lock:
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signals.SIGKILL)
    return count

layout = json.loads(sys.argv[4])
made = signal({"Y": 40, "X": 50}, {"Bias": 300})
threading.settrace(count)
sys.settrace(count)
usid_tasks.file_writer(path, made, threads=2, **layout)
sys.settrace(None)
print(passed)
"""


def run(path: Path, moment: int, layout: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(__file__).parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(paths), str(path), str(moment), json.dumps(layout)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("layout", [{}, {"chunks": [10, 100], "compression": "gzip"}], ids=str)
def test_killed_at_twenty_seeded_moments_the_file_is_whole(tmp_path, layout):
    """A moment is a line of the writer, from the first on with which something is on disk.

    How fast the machine is does not matter.
    """
    path = tmp_path / "scan.h5"
    write_file(path, Side(np.arange(5000)[:, None], ["X"]), line("V", np.arange(64.0)))
    shutil.copy(path, tmp_path / "first.h5")
    with h5py.File(path) as file:
        first = file[MAIN][()]
    undisturbed = run(tmp_path / "first.h5", 0, layout)
    assert undisturbed.returncode == 0, undisturbed.stderr
    n_lines = int(undisturbed.stdout)
    chosen = random.Random(20261122)
    n_there, n_killed = 1, 0
    for turn in range(20):
        # one in each twentieth of the way, from the first line to the last
        moment = 1 + int((turn + chosen.random()) * (n_lines - 1) / 20)
        before = path.read_bytes()
        done = run(path, moment, layout)
        n_killed += done.returncode == -signals.SIGKILL
        if path.read_bytes() != before:
            n_there += 1
        with h5py.File(path) as file:
            assert len(file) == n_there
            assert np.array_equal(file[MAIN][()], first)
        for number in range(1, n_there):
            assert_file_holds(path, signal({"Y": 40, "X": 50}, {"Bias": 300}), main_of(number))
        assert not any(found.severity == "error" for found in validate_file(path))
    assert n_killed >= 18
    assert n_there <= 3
    last = run(path, 0, layout)
    assert last.returncode == 0, last.stderr
    with h5py.File(path) as file:
        assert len(file) == n_there + 1
    assert {item.name for item in tmp_path.iterdir()} == {"first.h5", "scan.h5"}
