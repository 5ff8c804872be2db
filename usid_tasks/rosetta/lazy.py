"""Datasets as Dask arrays that hold no file open: each task opens the file by its path."""

from __future__ import annotations

from typing import Any

import dask.array as da
import h5py
import xarray as xr
from xarray.core import indexing

from usid_tasks.extras import Encoding, ExtraSource
from usid_tasks.mains import native
from usid_tasks.tree import ComponentSource, Variable
from usid_tasks.xarray_engine import LazyArray


def dask_array(variable: Variable) -> da.Array:
    """Return the engine's lazy array of a Main dataset, in blocks that follow its storage.

    It pickles, and its path must be valid on every worker.
    """
    assert isinstance(variable.source, ComponentSource), "a variable of a Main dataset"
    assert variable.block is not None, "a Main dataset is read in blocks"
    return _blocks(variable.source, dict(zip(variable.dims, variable.block, strict=True)))


def dask_array_of_dataset(dataset: h5py.Dataset) -> da.Array:
    """Return any dataset of plain numbers as a lazy array, in blocks of Dask's choice."""
    source = ExtraSource(
        dataset.file.filename, dataset.name, Encoding.NUMBERS, dataset.shape, native(dataset.dtype)
    )
    return _blocks(source, {f"dim_{at}": "auto" for at in range(dataset.ndim)})


def _blocks(source: ComponentSource | ExtraSource, extents: dict[str, Any]) -> da.Array:
    held = xr.Variable(tuple(extents), indexing.LazilyIndexedArray(LazyArray(source)))
    blocks: da.Array = held.chunk(extents).data
    return blocks
