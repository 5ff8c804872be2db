"""What makes each rule fire: a clean file with one defect, and its twin without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
from usid_files import LINKS, MAIN, Side, channel, distinct, line, write_file

from usid_tasks.model import Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
Edit = Callable[[h5py.File], None]
CHANNEL = "/Measurement_000/Channel_000"
RESULTS = f"{CHANNEL}/Raw_Data-Fit_000"

POSITION = Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"])
BIAS = line("Bias", np.arange(5, dtype="f4"))
STAMPS = {
    "time_stamp": "2026_01_31-12_00_00",
    "machine_id": "afm1.example.org",
    "pyUSID_version": "0.0.12",
    "platform": "Linux",
}


def write_clean(
    path: Path, position: Side = POSITION, spectroscopic: Side = BIAS, **how: Any
) -> Path:
    """Write a file that breaks no rule at all, unless told otherwise."""
    write_file(path, position, spectroscopic, **how)
    with h5py.File(path, "r+") as file:
        stamp(file)
    return path


def stamp(file: h5py.File) -> None:
    """Put the mandatory attributes on every group, and on every Main dataset."""
    held: list[Any] = [file]
    file.visititems(lambda _, one: held.append(one))
    for one in held:
        if isinstance(one, h5py.Group) or set(LINKS) & set(one.attrs):
            one.attrs.update(STAMPS)


@dataclass(frozen=True)
class Case:
    """A rule, what breaks it, and the finding that must follow; ``twin`` differs in one fact."""

    rule: str
    found: str
    severity: Severity = WARNING
    how: Mapping[str, Any] = field(default_factory=dict)
    twin: Mapping[str, Any] = field(default_factory=dict)
    both: Edit | None = None
    spoil: Edit | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path, twin: Path) -> None:
        """Write the file with the defect and the twin without it."""
        write_clean(path, **self.how)
        write_clean(twin, **self.twin)
        for place, edits in ((path, (self.both, self.spoil)), (twin, (self.both,))):
            with h5py.File(place, "r+") as file:
                for edit in filter(None, edits):
                    edit(file)


def taken_out(file: h5py.File, name: str) -> tuple[dict[str, Any], list[str]]:
    """Remove a dataset of the channel; return its attributes, and the references to it."""
    old = file[f"{CHANNEL}/{name}"]
    links = file[MAIN].attrs
    users = [link for link in LINKS if link in links and file[links[link]].name == old.name]
    attrs = dict(old.attrs)
    del file[f"{CHANNEL}/{name}"]
    return attrs, users


def put_in(file: h5py.File, new: h5py.Dataset, attrs: dict[str, Any], users: list[str]) -> None:
    """Give a new dataset the attributes of the old one, and the references to it."""
    for key, value in attrs.items():
        new.attrs[key] = value
    for link in users:
        file[MAIN].attrs[link] = new.ref


def replaced(name: str, data: Any, **how: Any) -> Edit:
    """Put other data in the place of a dataset; attributes and references stay as they were."""

    def edit(file: h5py.File) -> None:
        attrs, users = taken_out(file, name)
        new = file[CHANNEL].create_dataset(name, data=data, **how)
        put_in(file, new, attrs, users)

    return edit


def attribute(place: str, name: str, value: Any) -> Edit:
    """Set an attribute, or remove it where the value is None."""

    def edit(file: h5py.File) -> None:
        if value is None:
            del file[place].attrs[name]
        else:
            file[place].attrs[name] = value

    return edit


def moved(source: str, target: str) -> Edit:
    """Rename an object."""
    return lambda file: file.move(source, target)


def together(*edits: Edit) -> Edit:
    """Do one edit after the other."""

    def edit(file: h5py.File) -> None:
        for one in edits:
            one(file)

    return edit


def results(file: h5py.File) -> None:
    """Add a results group as the specification wants it."""
    group = file.create_group(RESULTS)
    group.attrs.update({"tool": "Fit", "num_sources": 1, **STAMPS})
    group.attrs["source_000"] = file[MAIN].ref
    group["coefficients"] = np.arange(3)


def null_source(file: h5py.File) -> None:
    attrs = file[RESULTS].attrs
    del attrs["source_000"]
    attrs.create("source_000", h5py.Reference(), dtype=h5py.ref_dtype)


def regions(file: h5py.File) -> None:
    """Add the optional region references, one for each label."""
    table = file[f"{CHANNEL}/Position_Indices"]
    for column, name in enumerate(("X", "Y")):
        table.attrs[name] = table.regionref[:, column : column + 1]


def null_region(file: h5py.File) -> None:
    table = file[f"{CHANNEL}/Position_Indices"]
    del table.attrs["X"]
    table.attrs.create("X", h5py.RegionReference(), dtype=h5py.regionref_dtype)


def other_region(file: h5py.File) -> None:
    table = file[f"{CHANNEL}/Position_Indices"]
    table.attrs["X"] = table.regionref[:, 1:2]


def foreign_region(file: h5py.File) -> None:
    table = file[f"{CHANNEL}/Position_Values"]
    file[f"{CHANNEL}/Position_Indices"].attrs["X"] = table.regionref[:, 0:1]


def no_dimension(file: h5py.File) -> None:
    for name in LINKS[2:]:
        table = file[f"{CHANNEL}/{name}"]
        replaced(name, np.zeros((0, 5), table.dtype))(file)
        for key in ("labels", "units"):
            file[f"{CHANNEL}/{name}"].attrs[key] = np.zeros(0, "S1")


def second_channel(file: h5py.File) -> None:
    """Add another channel that shares the tables, which lie in the Measurement."""
    for name in LINKS:
        file.move(f"{CHANNEL}/{name}", f"/Measurement_000/{name}")
    first = file[MAIN]
    group = channel(file, 0, 1)
    group.attrs.update(STAMPS)
    other = group.create_dataset("Raw_Data", data=distinct((12, 5)))
    for key, value in first.attrs.items():
        other.attrs[key] = value


def tables_in_the_first_channel(file: h5py.File) -> None:
    for name in LINKS:
        file.move(f"/Measurement_000/{name}", f"{CHANNEL}/{name}")


def misleading_names(file: h5py.File) -> None:
    file.move(f"{CHANNEL}/Spectroscopic_Values", f"{CHANNEL}/Bias_Axis")
    file.move(f"{CHANNEL}/Position_Indices", f"{CHANNEL}/Spectroscopic_Values")


def without_stamps(file: h5py.File) -> None:
    for place in ("/", "/Measurement_000", CHANNEL):
        for name in STAMPS:
            del file[place].attrs[name]


def source_elsewhere(file: h5py.File) -> None:
    group = file[RESULTS]
    del group.attrs["source_000"]
    group.attrs["source_file_path"] = "source.h5"
    group.attrs["source_dataset_path"] = MAIN


def odd_attribute(file: h5py.File) -> None:
    """Add an attribute of a type that h5py cannot read."""
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5a.create(file[CHANNEL].id, b"odd", h5py.h5t.UNIX_D32LE, space)


def picture_only(file: h5py.File) -> None:
    del file["Measurement_000"]
    file["picture"] = np.zeros((3, 4))


def looks_like_a_main(file: h5py.File) -> None:
    other = file[CHANNEL].create_dataset("Sum", data=distinct((12, 5)))
    other.attrs.update({"quantity": "Current", "units": "nA"})


def half_written(file: h5py.File) -> None:
    replaced("Raw_Data", None, shape=(12, 5), dtype="f4", chunks=(2, 5))(file)
    file[MAIN][:6] = distinct((6, 5))


def virtual(name: str, source: str, *, is_there: bool = True) -> Edit:
    """Take the values of a dataset from another file, beside the first."""

    def edit(file: h5py.File) -> None:
        old = file[f"{CHANNEL}/{name}"]
        place = Path(file.filename).with_name(source)
        if is_there:
            with h5py.File(place, "w") as other:
                other["part"] = old[()]
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[:] = h5py.VirtualSource(source, "part", old.shape)
        attrs, users = taken_out(file, name)
        put_in(file, file[CHANNEL].create_virtual_dataset(name, layout), attrs, users)

    return edit


def virtual_extra(file: h5py.File) -> None:
    """Add a virtual dataset that is no Main dataset, its source missing."""
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[:] = h5py.VirtualSource("more.h5", "part", (3, 4))
    file.create_virtual_dataset("extra", layout)


def external(name: str, raw: str, size_bytes: int) -> Edit:
    """Take the values of a dataset from a raw file beside the first, which holds so many bytes."""

    def edit(file: h5py.File) -> None:
        old = file[f"{CHANNEL}/{name}"]
        values = old[()]
        attrs, users = taken_out(file, name)
        place = Path(file.filename).with_name(raw)
        new = file[CHANNEL].create_dataset(
            name, values.shape, values.dtype, external=[(raw, 0, values.nbytes)]
        )
        put_in(file, new, attrs, users)
        place.write_bytes(values.tobytes()[:size_bytes])

    return edit


def undecodable(name: str) -> Edit:
    """Store a dataset through a filter that nobody has."""

    def edit(file: h5py.File) -> None:
        old = file[f"{CHANNEL}/{name}"]
        shape, dtype = old.shape, old.dtype
        attrs, users = taken_out(file, name)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(shape)
        plist.set_filter(65432, h5py.h5z.FLAG_OPTIONAL, ())
        made = h5py.h5d.create(
            file[CHANNEL].id, name.encode(), h5py.h5t.py_create(dtype),
            h5py.h5s.create_simple(shape), plist,
        )  # fmt: skip
        made.write_direct_chunk((0,) * len(shape), np.ones(shape, dtype).tobytes(), 0)
        put_in(file, file[f"{CHANNEL}/{name}"], attrs, users)

    return edit


def on(table: str, name: str, *texts: str) -> dict[str, Any]:
    """Return how to write one list of texts on the tables whose names begin so."""
    value = np.array([text.encode() for text in texts])
    return {"table_attrs": {link: {name: value} for link in LINKS if link.startswith(table)}}


def raster(n_points: int | None = None, **how: Any) -> dict[str, Any]:
    """Return how to write a raster of 3 × 5, or its beginning."""
    return {"position": Side(it.grid({"Y": 3, "X": 5}, **how)[:n_points], ["X", "Y"])}


def cycles(bias: np.ndarray) -> dict[str, Any]:
    """Return how to write a Main of 3 cycles × 4 bias values."""
    table = it.grid({"Cycle": 3, "Bias": 4})
    values = np.column_stack([bias, table[:, 1]])
    return {"spectroscopic": Side(table, ["Bias", "Cycle"], ["V", ""], values)}


def axis(*values: float, dtype: str = "f4") -> dict[str, Any]:
    """Return how to write a Main with this Bias axis."""
    return {"spectroscopic": line("Bias", np.array(values, dtype))}


SPOTS = it.sparse(6, 2)
FULL_STEPS = it.grid({"Cycle": 3, "Bias": 4})
NO_GRID = {"position": Side(SPOTS, ["X", "Y"])}
