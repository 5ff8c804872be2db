"""Attributes are told as h5py reads them, and references by the name that HDF5 has for them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from h5py import h5a, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usid_files import LINKS, MAIN, Side, channel, line, write_file, write_main

from usid_tasks import attributes as library
from usid_tasks.errors import NotHDF5Error
from usid_tasks.hdf5_types import describe, stored_type
from usid_tasks.usid import UsidFile, read_usid

POSITION = Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"])
BIAS = line("Bias", np.arange(5.0))
CHANNEL = MAIN.rsplit("/", 1)[0]

Edit = Callable[[h5py.File], None]


def edited(path: Path, *edits: Edit, **how: Any) -> UsidFile:
    """Write a file of one Main, edit it, and return what is read."""
    write_file(path, POSITION, BIAS, **how)
    with h5py.File(path, "r+") as file:
        for edit in edits:
            edit(file)
    return read_usid(path)


def as_json(value: Any) -> Any:
    """Return what h5py reads as JSON, by no means of ours."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, (bytes, np.bytes_)):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [as_json(item) for item in value]
    if isinstance(value, np.void):
        return {name: as_json(value[name]) for name in value.dtype.names}
    if isinstance(value, (np.complexfloating, complex)):
        return [as_json(value.real), as_json(value.imag)]
    if isinstance(value, (float, np.floating)) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(float(value), "NaN")
    return value.item() if isinstance(value, np.generic) else value


NUMBERS = ["?", "i1", ">i2", "u8", "f2", ">f4", "f8", "c8"]
INNER = [("n", ">i2"), ("t", "S3"), ("v", "f4", (2,)), ("w", [("q", "u1")])]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_is_told_as_h5py_reads_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "scan.h5"
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    dtype = np.dtype(data.draw(st.sampled_from([*NUMBERS, "S4", INNER])))
    raw = data.draw(st.binary(min_size=64 * 9, max_size=64 * 9))
    if dtype.kind in "Sb" or dtype.names:
        raw = bytes(byte % 2 + (97 if dtype.kind == "S" else 0) for byte in raw)
    values = np.frombuffer(raw[: dtype.itemsize * math.prod(shape)], dtype).reshape(shape)
    listed = data.draw(st.lists(texts, min_size=1, max_size=3))
    with h5py.File(path, "w") as file:
        file.attrs.create("numbers", values, dtype=dtype)
        file.attrs["text"] = listed[0]
        file.attrs["texts"] = listed
        file.attrs["empty"] = h5py.Empty(dtype)
        file.attrs.create("ragged", [np.arange(2), np.arange(3)], dtype=h5py.vlen_dtype("i4"))
    with h5py.File(path) as file:
        want = {name: as_json(value) for name, value in file.attrs.items()}
    root = read_usid(path).record.groups["/"].attributes
    assert dict(root.values) == want
    assert root.records["numbers"]["shape"] == list(shape)
    assert root.records["empty"]["shape"] is None
    assert not root.unreadable


def test_many_attributes_and_those_in_the_order_they_were_written(path: Path) -> None:
    names = [f"n{number:03d}" for number in range(300)]
    with h5py.File(path, "w", libver="latest", track_order=True) as file:
        for name in reversed(names):
            file.attrs[name] = name
    root = read_usid(path).record.groups["/"].attributes
    assert dict(root.values) == {name: name for name in names}
    assert list(root.values) == names


def name_of(file: h5py.File, reference: h5py.Reference) -> str | None:
    """Return the name that HDF5 itself finds for what a reference leads to."""
    return str(file[reference].name) if reference else None


def referring(file: h5py.File) -> None:
    """Refer to objects of every kind, one by one and in lists."""
    file["type"] = np.dtype("f4")
    holder = file[CHANNEL]
    held = [file, file[MAIN], holder, file["type"], file[f"{CHANNEL}/Position_Values"]]
    for number, one in enumerate(held):
        holder.attrs[f"one_{number}"] = one.ref
    holder.attrs.create("all", [one.ref for one in held], dtype=h5py.ref_dtype)
    holder.attrs.create("square", np.array([[held[0].ref], [held[1].ref]]), dtype=h5py.ref_dtype)
    some = np.array([(1, held[1].ref)], dtype=[("n", "i4"), ("to", h5py.ref_dtype)])
    holder.attrs.create("inside", some)


def further_names(file: h5py.File) -> None:
    """Give objects second names: of a dataset, of a group, and one that leads in a circle."""
    file["a_first_name"] = file[MAIN]
    file["z/y"] = file[CHANNEL]
    file[CHANNEL]["up"] = file["/"]


@pytest.mark.parametrize("edits", [[referring], [further_names, referring]])
def test_references_are_told_by_the_name_that_hdf5_has(path: Path, edits: list[Edit]) -> None:
    record = edited(path, *edits).record
    group = next(g for g in record.groups.values() if "all" in g.attributes.values)
    with h5py.File(path) as file:
        attrs = file[CHANNEL].attrs
        for name in attrs:
            held = attrs[name]
            if name == "inside":
                want: Any = [{"n": 1, "to": name_of(file, held[0]["to"])}]
            elif isinstance(held, np.ndarray):
                want = np.vectorize(lambda one: name_of(file, one), otypes=[object])(held).tolist()
            else:
                want = name_of(file, held)
            assert group.attributes.values[name] == want, name


def test_no_reference_is_searched_for_where_every_object_has_one_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    plain = library.resolve
    monkeypatch.setattr(library, "resolve", lambda *of: calls.append(of) or plain(*of))
    write_file(path, POSITION, BIAS)
    assert len(read_usid(path).mains) == 1
    assert calls == []
    with h5py.File(path, "r+") as file:
        file["again"] = file[MAIN]
    assert len(read_usid(path).mains) == 1
    assert len(calls) == len(LINKS)


def test_null_and_dangling_references(path: Path) -> None:
    def edit(file: h5py.File) -> None:
        doomed = file.create_group("doomed")
        file.attrs["gone"] = doomed.ref
        pair = np.array([doomed.ref, file[MAIN].ref], dtype=h5py.ref_dtype)
        file.attrs.create("half", pair)
        file.attrs.create("null", h5py.Reference(), dtype=h5py.ref_dtype)
        del file["doomed"]

    root = edited(path, edit).record.groups["/"].attributes
    assert {name: root.values[name] for name in ("gone", "half", "null")} == {
        "gone": None, "half": [None, MAIN], "null": None,
    }  # fmt: skip
    assert root.records["null"]["state"].startswith("null")
    assert root.records["gone"]["state"].endswith("dangling")


def test_a_path_into_another_file_is_no_table(path: Path, tmp_path: Path) -> None:
    """In a twin of the file, objects have the same addresses."""
    write_file(tmp_path / "twin.h5", POSITION, BIAS)

    def edit(file: h5py.File) -> None:
        file["twin"] = h5py.ExternalLink("twin.h5", "/")
        file[MAIN].attrs["Position_Values"] = f"/twin{CHANNEL}/Position_Values"
        file[MAIN].attrs["Position_Indices"] = "Position_Indices"

    with h5py.File(path, "w") as file:  # the twin's first bytes are laid out in the same way
        write_main(channel(file), position=POSITION, spectroscopic=BIAS)
    with h5py.File(path, "r+") as file:
        edit(file)
    (candidate,) = read_usid(path).record.candidates.values()
    outside = candidate.references["Position_Values"]
    assert (outside.state, outside.target) == ("dangling", None)
    assert "lies outside this file" in outside.detail
    inside = candidate.references["Position_Indices"]
    assert (inside.state, inside.target) == ("path", f"{CHANNEL}/Position_Indices")


def test_an_attribute_whose_name_is_no_text_is_not_read(path: Path) -> None:
    def edit(file: h5py.File) -> None:
        space = h5s.create(h5s.SCALAR)
        h5a.create(file.id, b"n\xffame", h5t.STD_I8LE, space)

    root = edited(path, edit).record.groups["/"].attributes
    assert list(root.unreadable) == ["n\udcffame"]
    assert "n\udcffame" not in root.values


def test_damage_to_an_object_whose_name_is_no_text_is_a_finding(path: Path) -> None:
    """Where h5py puts the name into its message, it cannot be decoded."""
    with h5py.File(path, "w") as file:
        file.create_group(b"n\xffame")
        header = h5py.h5o.get_info(file[b"n\xffame"].id).addr
    raw = bytearray(path.read_bytes())
    assert raw[header] == 1  # the version of the object header
    raw[header] = 99
    path.write_bytes(raw)
    with pytest.raises(NotHDF5Error, match="cannot read all of it"):
        read_usid(path)


@pytest.mark.parametrize(
    "kind",
    [
        h5t.IEEE_F32BE, h5t.STD_U8LE, h5t.STD_REF_OBJ, h5t.STD_REF_DSETREG, h5t.UNIX_D32LE,
        h5t.STD_B16LE, h5t.py_create(np.dtype("?")), h5t.py_create(np.dtype("c16")),
        h5t.py_create(np.dtype(INNER)), h5t.vlen_create(h5t.STD_I16BE),
        h5t.array_create(h5t.IEEE_F64LE, (2, 3)), h5t.create(h5t.OPAQUE, 5),
        h5t.py_create(np.dtype(np.longdouble)), h5t.py_create(h5py.string_dtype(), logical=True),
    ],
)  # fmt: skip
def test_a_type_is_described_anew_for_everyone(kind: h5t.TypeID) -> None:
    first = describe(kind)
    if isinstance(first, dict):
        first["class"] = "spoiled"
        for value in first.values():
            if isinstance(value, (dict, list)):
                value.clear()
    assert describe(kind) != first or isinstance(first, str)
    assert describe(kind) == describe(kind.copy())
    try:
        dtype = kind.dtype
    except TypeError:
        dtype = None
    assert stored_type(kind).dtype == dtype


def test_threads_that_read_their_first_text_at_once_do_not_disturb_each_other(tmp_path):
    """As in the first files of an ingest: the trial of h5py was made by both, under one name."""
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file.attrs["quantity"] = "Current"
    code = (
        "import sys, threading, h5py\n"
        "from usid_tasks.attributes import AttributeReader\n"
        "files = [h5py.File(name, 'r') for name in sys.argv[1:]]\n"
        "ready, found = threading.Barrier(2), []\n"
        "def read(file):\n"
        "    ready.wait()\n"
        "    found.append(AttributeReader(file, {}).read(file.id)[0])\n"
        "threads = [threading.Thread(target=read, args=(file,)) for file in files]\n"
        "sys.setswitchinterval(1e-6)\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "assert [dict(each.values) for each in found] == [{'quantity': 'Current'}] * 2, found\n"
    )
    paths = [str(tmp_path / f"{number}.h5") for number in range(2)]
    for _ in range(5):
        subprocess.run([sys.executable, "-c", code, *paths], check=True)
