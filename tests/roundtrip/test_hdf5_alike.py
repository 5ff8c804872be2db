"""The comparison of two HDF5 files sees every kind of difference."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import return_cases
from hdf5_alike import assert_alike, differences
from usid_files import LINKS

CHANNEL = "/Measurement_000/Channel_000"
MAIN = f"{CHANNEL}/Raw_Data"


def replaced(file: h5py.File, path: str, **how: object) -> None:
    """Make a dataset anew in another way; its attributes stay."""
    old = file[path]
    attrs = {name: old.attrs[name] for name in old.attrs}
    options = {"data": old[()], **how}
    del file[path]
    made = file.create_dataset(path, **options)
    for name, value in attrs.items():
        made.attrs[name] = value


def other_target(file: h5py.File) -> None:
    file[MAIN].attrs[LINKS[0]] = file[f"{CHANNEL}/{LINKS[1]}"].ref


def other_region(file: h5py.File) -> None:
    file.attrs["rows"] = file[MAIN].regionref[2:4]


def swapped_links(file: h5py.File) -> None:
    del file["here too"]
    file["here too"] = file["/Measurement_000"]


def other_soft_link(file: h5py.File) -> None:
    del file[CHANNEL]["soft"]
    file[CHANNEL]["soft"] = h5py.SoftLink("/elsewhere")


CHANGES: dict[str, tuple[str, str, str, Callable[[h5py.File], None]]] = {
    "a value": ("references", MAIN, "/values", lambda file: file[MAIN].__setitem__((3, 1), 99)),
    "a NaN's sign": (
        "references", MAIN, "/values", lambda file: file[MAIN].__setitem__((0, 0), -0.0),
    ),
    "a dataset": ("references", "/more", "/values", lambda file: file.update({"more": [1]})),
    "a group": (
        "references", "/more", "/values", lambda file: file.create_group("more") and None,
    ),
    "an attribute": ("references", "/", "more", lambda file: file.attrs.update({"more": 1})),
    "a type": (
        "references", f"{CHANNEL}/Position_Indices", "/type",
        lambda file: replaced(file, f"{CHANNEL}/Position_Indices", dtype="<u2"),
    ),
    "a byte order": (
        "references", MAIN, "/type", lambda file: replaced(file, MAIN, dtype=">f4"),
    ),
    "a shape": (
        "references", MAIN, "/storage",
        lambda file: replaced(file, MAIN, data=np.zeros((5, 12), "f4")),
    ),
    "chunks": (
        "references", MAIN, "/storage", lambda file: replaced(file, MAIN, chunks=(3, 5)),
    ),
    "a filter's option": (
        "gzip", MAIN, "/storage",
        lambda file: replaced(file, MAIN, chunks=(5, 3), compression=1),
    ),
    "room to grow": (
        "gzip", MAIN, "/storage",
        lambda file: replaced(file, MAIN, chunks=(5, 3), compression=9, maxshape=(None, 5)),
    ),
    "a fill value": (
        "gzip", MAIN, "/storage",
        lambda file: replaced(file, MAIN, chunks=(5, 3), compression=9, fillvalue=3),
    ),
    "what a reference leads to": ("references", MAIN, LINKS[0], other_target),
    "a region": ("references", "/", "rows", other_region),
    "a null reference": (
        "references", MAIN, LINKS[0],
        lambda file: file[MAIN].attrs.create(LINKS[0], h5py.Reference(), dtype=h5py.ref_dtype),
    ),
    "a charset": (
        "variable lengths", "/", "ascii",
        lambda file: file.attrs.create("ascii", "plain", dtype=h5py.string_dtype()),
    ),
    "a text's encoding": (
        "variable lengths", "/", "latin",
        lambda file: file.attrs.create("latin", "µ".encode(), dtype=h5py.string_dtype("ascii")),
    ),
    "a fixed length": (
        "variable lengths", "/", "ascii",
        lambda file: file.attrs.create("ascii", np.bytes_(b"plain")),
    ),
    "where a hard link leads": ("links", "/here too", "link", swapped_links),
    "a soft link": (
        "links", f"{CHANNEL}/soft", "link",
        other_soft_link,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_is_one_difference(tmp_path: Path, name: str) -> None:
    case, path, part, change = CHANGES[name]
    one = return_cases.CASES[case](tmp_path / "one.h5")
    two = Path(shutil.copyfile(one, tmp_path / "two.h5"))
    assert_alike(one, two)
    with h5py.File(two, "r+") as file:
        change(file)
    found = list(differences(one, two))
    assert (path, part) in {(where, what) for where, what, _ in found}, found
    with pytest.raises(AssertionError):
        assert_alike(one, two)


def test_what_is_told_to_differ_has_to(tmp_path: Path) -> None:
    one = return_cases.CASES["gzip"](tmp_path / "one.h5")
    with pytest.raises(AssertionError, match="told to differ"):
        assert_alike(one, one, but=[("/", "/values")])
