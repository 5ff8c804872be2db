"""The Main dataset as HDF5 makes it, tried in memory before there is a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
from h5py import h5d, h5p

from usid_tasks.writing.cells import Cells
from usid_tasks.writing.refusals import UnwritableError


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Turn what h5py does not take into an error that names it."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        what = f"HDF5 cannot hold it: {error}"
        raise UnwritableError(where, what, "Change it, or leave it out") from error


def is_raw(cells: Cells, creation: Mapping[str, Any]) -> bool:
    """Return True where values will lie in the file as they do in memory, before there is one.

    Raises
    ------
    UnwritableError
        If h5py does not take an option.
    """
    with h5py.File("trial", "w", driver="core", backing_store=False) as file:
        made = create_main(file, "trial", cells, creation)
        has_same_bytes = made.id.get_type().get_size() == cells.dtype.itemsize
        return made.chunks is None and has_same_bytes and made.dtype == cells.dtype


def create_main(
    group: h5py.Group,
    name: str,
    cells: Cells,
    creation: Mapping[str, Any],
    plist: h5p.PropDCID | None = None,
) -> h5py.Dataset:
    """Return a new Main dataset without values; ``creation`` are options of h5py.

    Raises
    ------
    UnwritableError
        If h5py does not take one.
    """
    options = {**creation, "dtype": cells.dtype}
    told = ", ".join(creation) or "type"
    with refusing(f"{told} of the Main dataset"):
        return group.create_dataset(name, shape=cells.table_shape, dcpl=plist, **options)


def allocated() -> h5p.PropDCID:
    """Return what makes HDF5 give a contiguous dataset its place, and leave the values to us."""
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)
    return plist
