"""What cannot be written is refused before a byte is, and says what would do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from usid_files import MAIN
from written_signals import axis, signal

from usid_tasks import file_writer
from usid_tasks.errors import (
    FileBusyError,
    NotHDF5Error,
    RefusedError,
    UsidError,
    VerificationError,
)
from usid_tasks.writing import replacing
from usid_tasks.writing.refusals import UnwritableError


def changed(**parts: Any) -> dict[str, Any]:
    return {**signal(), **parts}


def with_axis(number: int, **more: Any) -> dict[str, Any]:
    told = signal()
    told["axes"][number] |= more
    return told


LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP
BAD_SIGNALS = {
    "no data": ({"axes": []}, r"is \['axes'\], expected a dictionary with data"),
    "no dictionary": ([1], "is list, expected a dictionary"),
    "no axes": (changed(axes=None), "axes that are a list of dictionaries"),
    "axes that are none": (changed(axes=[1, 2, 3]), "axes that are a list of dictionaries"),
    "a list": (changed(data=[[1]]), r"a list, expected a NumPy or Dask array|one axis"),
    "too many axes": (changed(axes=[axis(c, 2) for c in "ABCD"]), "4 axes for an array of 3"),
    "too few axes": (changed(axes=[axis("A", 3)]), "1 axes for an array of 3"),
    "duplicates": (with_axis(2, name="X"), "axes 1 and 2 are both called 'X'"),
    "duplicates but for space": (with_axis(0, name=" X"), "axes 0 and 1 are both called 'X'"),
    "ragged": (changed(data=np.full((3, 4, 5), None)), "no numbers that USID can hold"),
    "text": (changed(data=np.full((3, 4, 5), "a")), "no numbers that USID can hold"),
    "times": (changed(data=np.zeros((3, 4, 5), "M8[s]")), "no numbers that USID can hold"),
    "long doubles": (changed(data=np.zeros((3, 4, 5), "g")), "64 bits or less"),
    "masked": (changed(data=np.ma.zeros((3, 4, 5))), "Fill a masked array"),
    "no cells": (changed(data=np.zeros((3, 0, 5))), "there are no cells"),
    "unknown size": (
        changed(data=da.zeros((3, 4, 5))[da.from_array(np.array([True] * 3), chunks=3)]),
        "a size is unknown",
    ),
    "short vector": (with_axis(1, axis=np.arange(3.0)), r"shape \(3,\) for 4 points"),
    "table of values": (with_axis(1, axis=np.zeros((4, 1))), r"shape \(4, 1\) for 4 points"),
    "vector of times": (with_axis(1, axis=np.zeros(4, "M8[s]")), "expected real numbers"),
    "function": (with_axis(1, expression="x**2"), "convert_to_non_uniform_axis"),
    "scale of text": (with_axis(1, scale="wide"), "its scale is no number"),
    "offset of None": (with_axis(1, offset=None), "its offset is no number"),
    "control character": (with_axis(1, name="X\0"), "control characters"),
    "half a pair": (with_axis(1, units="\ud800"), "half a surrogate pair"),
    "long name": (with_axis(1, name="x" * 1001), "1001 bytes, expected 1000"),
    "inexact integers": (
        with_axis(1, axis=np.array([2**53 + 1, 0, 1, 2])), "not held exactly by one type",
    ),
    "quantity with a NUL": (
        changed(metadata={"Signal": {"quantity": "a\0b (V)"}}), r"quantity: 'a\\\\x00b' has a NUL",
    ),
    "half a pair in units": (
        changed(original_metadata={"units": "\ud800"}), "units: .* half a surrogate pair",
    ),
    "metadata of no dictionary": (changed(metadata=[1]), r"signal\['metadata'\]: is a list"),
    "metadata of no type": (
        changed(metadata={"General": {"of": object()}}),
        r"signal\['metadata'\]\['General'\]\['of'\]: neither HDF5 nor JSON .* type object",
    ),
    "metadata that hold themselves": (changed(original_metadata=LOOP), "or it holds itself"),
}  # fmt: skip
BAD_OPTIONS = {
    "unknown": ({"compressio": "gzip"}, "compressio"),
    "unknown filter": ({"compression": "no-such"}, "compression of the Main dataset"),
    "large chunks": ({"chunks": (1000, 1)}, "chunks"),
    "other type": ({"dtype": "i4"}, "cannot be stored as int32"),
    "dims": ({"pos_dims": []}, r"signal\['axes'\] tells the Position dimensions"),
    "external": ({"external": "raw.bin"}, "values stay in the file"),
    "fast to slow": ({"slow_to_fast": False}, "slow to fast"),
    "order": ({"column_order": "fast"}, "Use one of slow to fast, specification"),
    "threads": ({"threads": 0}, "from 1 on"),
    "name with a slash": ({"main_data_name": "a/b"}, "no name of one dataset"),
    "empty name": ({"main_data_name": " "}, "no name of one dataset"),
    "name of a table": ({"main_data_name": "Position_Values"}, "Give each its own name"),
    "equal prefixes": ({"aux_spec_prefix": "Position"}, "Give each its own name"),
    "quantity": ({"quantity": 7}, "expected a text"),
    "half a pair": ({"units": "\ud800"}, "give units="),
    "attributes": (
        {"main_dset_attrs": {"a": object()}}, r"main_dset_attrs\['a'\]: neither HDF5 nor JSON"
    ),
    "attributes that are none": ({"main_dset_attrs": [1]}, "main_dset_attrs: is a list"),
    "one table": ({"h5_pos_inds": "/a"}, "only h5_pos_inds is given"),
    "no table": ({"h5_pos_inds": 1, "h5_pos_vals": 2}, "is a int"),
    "tables of no file": ({"h5_pos_inds": "/a", "h5_pos_vals": "/b"}, "there is no file yet"),
}  # fmt: skip


@pytest.mark.parametrize(("told", "why"), BAD_SIGNALS.values(), ids=BAD_SIGNALS)
def test_bad_signals_are_refused_before_a_byte_is_written(path, told, why):
    with pytest.raises(UnwritableError, match=why) as refused:
        file_writer(path, told)
    assert isinstance(refused.value, ValueError)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("options", "why"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options_are_refused_before_a_byte_is_written(path, options, why):
    with pytest.raises(UnwritableError, match=why):
        file_writer(path, signal(), **options)
    assert list(path.parent.iterdir()) == []


def test_a_filter_that_changes_values_is_refused(path):
    with pytest.raises(VerificationError, match="Use a filter that keeps values, not scaleoffset"):
        file_writer(path, signal(dtype="i4"), chunks=True, scaleoffset=2)
    assert list(path.parent.iterdir()) == []


# the place


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="is no folder"):
        file_writer(tmp_path / "no" / "scan.h5", signal())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(RefusedError, match="is no file"):
        file_writer(tmp_path, signal())


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_not_added_to(path, content):
    path.write_bytes(content)
    with pytest.raises(NotHDF5Error):
        file_writer(path, signal())
    assert path.read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    file_writer(path, signal(), replace=True)
    with h5py.File(path) as file:
        assert MAIN in file


@pytest.mark.parametrize("name", ["x" * 252 + ".h5", "staging", "file", "lock"])
def test_any_name_of_a_file_is_as_good(tmp_path, name):
    """As long as the file system takes, and those of our own folders and files."""
    path = tmp_path / name
    (tmp_path / ".usid" / "staging").mkdir(parents=True)
    for number in (1, 2):
        file_writer(path, signal(), compression="gzip", chunks=True)
        with h5py.File(path) as file:
            assert len(file) == number
    assert {item.name for item in tmp_path.iterdir()} == {name, ".usid"}
    assert [item.name for item in (tmp_path / ".usid").iterdir()] == ["staging"]


def test_too_little_room_is_refused_before(path, monkeypatch):
    file_writer(path, signal())
    before = path.read_bytes()
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(replacing.shutil, "disk_usage", lambda _: usage._replace(free=2**20 + 100))
    monkeypatch.setattr(replacing, "_copy", None)  # not even tried
    for options in ({}, {"replace": True}, {"compression": "gzip"}):
        with pytest.raises(RefusedError, match=r"1\.0 MiB are free, expected 1\.\d MiB. Free"):
            file_writer(path, signal(original_metadata={"big": np.zeros(10**5)}), **options)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


FULL = """
import json, subprocess, sys
sys.path[:0] = json.loads(sys.argv[2])
import numpy as np
from pathlib import Path
from written_signals import signal
from usid_tasks import file_writer
from usid_tasks.errors import UsidError
from usid_tasks.writing import measurements, replacing

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], check=True)
print("mounted")
replacing.refuse_no_room = measurements.refuse_no_room = lambda *_: None  # it fills up later
path = folder / "scan.h5"
file_writer(path, signal())
before = path.read_bytes()
large = signal({"Y": 600}, {"B": 600}, "f8")
large["data"] = np.random.default_rng(1).random((600, 600))
told = signal(original_metadata={"array": np.zeros(200_000), "text": "x" * 10**6})
for number, layout in enumerate(({}, {"chunks": (100, 100)}, {"compression": "gzip"}, {})):
    for replace in (False, True):
        try:
            file_writer(path, told if number == 3 else large, replace=replace, **layout)
        except UsidError as error:
            assert error.what.startswith("cannot be written"), error
            assert "Free space" in error.remedy, error
            print("refused")
        assert path.read_bytes() == before
        assert [item.name for item in folder.iterdir()] == ["scan.h5"]
"""


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path):
    """A real one, of 1 MiB. HDF5 crashes if it cannot write when it closes a file."""
    assert in_a_mount(FULL, tmp_path).count("refused") == 8


READ_ONLY = """
import json, subprocess, sys
sys.path[:0] = json.loads(sys.argv[2])
from pathlib import Path
from written_signals import signal
from usid_tasks import file_writer
from usid_tasks.errors import UsidError

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
print("mounted")
path = folder / "scan.h5"
file_writer(path, signal())
before = path.read_bytes()
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
for place, replace in ((path, False), (path, True), (folder / "new.h5", False)):
    try:
        file_writer(place, signal(), replace=replace)
    except UsidError as error:
        print(error.where, error.what)
assert path.read_bytes() == before
assert [item.name for item in folder.iterdir()] == ["scan.h5"]
"""


def in_a_mount(code: str, folder: Path) -> str:
    """Return what a child tells that may mount disks of its own; skip where nobody may."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-W", "ignore",
         "-c", code, str(folder), json.dumps(sys.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mounted" not in done.stdout:
        pytest.skip(f"this system lets nobody mount a disk: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_may_only_be_read_is_refused(tmp_path):
    told = in_a_mount(READ_ONLY, tmp_path).splitlines()[1:]
    assert told[:2] == [f"{tmp_path / 'scan.h5'} may not be written to"] * 2
    assert "cannot be written (Read-only file system)" in told[2]


# other programs


def test_a_file_that_is_being_written_is_refused(path):
    file_writer(path, signal())
    with h5py.File(path, "r+"):
        for replace in (False, True):
            with pytest.raises(FileBusyError, match="another program holds its lock"):
                file_writer(path, signal(), replace=replace)
    with h5py.File(path, "r"):  # readers may stay
        file_writer(path, signal())


def test_a_file_whose_header_says_it_is_being_written_is_refused(path):
    with h5py.File(path, "w", libver="latest") as file:
        file["a"] = 1
    content = bytearray(path.read_bytes())
    content[11] |= 1  # open for writing: left by a program that died, or writes by SWMR
    path.write_bytes(content)
    with pytest.raises(FileBusyError, match="open for writing"):
        file_writer(path, signal())


def test_a_file_that_changes_meanwhile_is_not_replaced(path):
    file_writer(path, signal())
    with replacing.staged(path) as place:
        shutil.copy(path, place.file)
        other = path.with_suffix(".other")
        other.write_bytes(b"written by another program")
        other.replace(path)
        with pytest.raises(FileBusyError, match="changed while"):
            place.publish()
    assert path.read_bytes() == b"written by another program"


def test_one_writer_at_a_time(path):
    with replacing.staged(path):
        with pytest.raises(FileBusyError, match="another program is about to replace it"):
            file_writer(path, signal())
        file_writer(path.with_name("other.h5"), signal())
    file_writer(path, signal())
    assert {item.name for item in path.parent.iterdir()} == {path.name, "other.h5"}


def test_what_a_killed_writer_left_is_taken_over(path):
    place = path.parent / ".usid" / "writing" / path.name
    place.mkdir(parents=True)
    for name in ("file", "values", "lock"):
        (place / name).write_bytes(b"half a file")
    file_writer(path, signal(), compression="gzip")
    assert [item.name for item in path.parent.iterdir()] == [path.name]


# permissions and links


def test_a_file_that_may_not_be_written_to_is_refused(path, monkeypatch):
    file_writer(path, signal())
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # root may
        monkeypatch.setattr(replacing.os, "access", lambda place, mode: False)
    with pytest.raises(RefusedError, match="may not be written to"):
        file_writer(path, signal())


@pytest.mark.parametrize("replace", [False, True])
def test_permissions_stay(path, replace):
    file_writer(path, signal())
    path.chmod(0o640)
    file_writer(path, signal(), replace=replace)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("replace", [False, True])
def test_its_owner_stays(path, replace):
    file_writer(path, signal())
    os.chown(path, 1234, 4321)
    file_writer(path, signal(), replace=replace)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_a_link_stays_a_link(path):
    real = path.parent / "elsewhere" / "real.h5"
    real.parent.mkdir()
    path.symlink_to(real)
    for number in (1, 2):
        file_writer(path, signal())
        assert path.is_symlink()
        with h5py.File(real) as file:
            assert len(file) == number
    assert [item.name for item in real.parent.iterdir()] == ["real.h5"]


def test_errors_tell_where_what_and_what_next(path):
    with pytest.raises(UsidError) as refused:
        file_writer(path, with_axis(2, name="X"))
    assert (refused.value.where, refused.value.remedy) == ("signal['axes']", "Rename one of them")
