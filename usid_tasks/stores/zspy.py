"""HyperSpy's Zarr stores (.zspy), in Zarr format 2, which every version of its reader knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.progress import Progress
from usid_tasks.settings import Settings
from usid_tasks.stores.beside import Beside, made_beside, refuse_place, refuse_space
from usid_tasks.stores.held import NOTE, Held
from usid_tasks.stores.hierarchy import (
    EXPERIMENTS,
    IN_ZARR,
    VERSION,
    WRITTEN_BY,
    axes_of,
    check_level,
    entries,
    group_names,
    held_metadata,
)
from usid_tasks.stores.registry import Written
from usid_tasks.stores.signals import Passage, Region, Signals, passage_of, read_signals
from usid_tasks.stores.streaming import check_values, stream

_FORMAT = "ZSpy"
_CHUNK_BYTES = 4 * 2**20

_COPIES = 12
"""Of a region in memory: zarr-python and Blosc hold several."""


class _ZarrArray:
    """An array of a Zarr store."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def write(self, region: Region, cells: NDArray[Any]) -> None:
        """Write a region of whole chunks."""
        self._array[region] = cells

    def read(self, region: Region) -> NDArray[Any]:
        """Return what zarr-python reads there."""
        return np.asarray(self._array[region])


def write(
    source: Path,
    dest: Path,
    *,
    datasets: Sequence[str],
    settings: Settings,
    overwrite: bool,
    progress: Progress,
) -> Written:
    """Make a .zspy store of an h5USID file; see :class:`usid_tasks.stores.registry.Store`."""
    refuse_place(dest, source, overwrite=overwrite, may_replace=_is_zspy)
    found = read_signals(source, datasets)
    convert = settings.convert
    passages = [
        passage_of(
            one,
            chunk_bytes=_CHUNK_BYTES,
            memory_bytes=convert.memory,
            threads=convert.threads,
            copies=_COPIES,
        )
        for one in found.signals
    ]
    parts = [held_metadata(one, IN_ZARR) for one in found.signals]
    refuse_space(dest, found.size_bytes)
    with made_beside(dest, settings, overwrite=overwrite) as beside:
        with durable.writing(beside.path):
            _fill(beside, found, parts, passages, progress)
        found.check_unchanged()
    return Written(
        format="zspy",
        source=source,
        source_kind="file",
        path=dest,
        size_bytes=sum(file.stat().st_size for file in dest.rglob("*") if file.is_file()),
        datasets=found.datasets,
        verified=f"{len(found.signals)} arrays by digest, axes and metadata",
        told=found.told("A .zspy store"),
    )


def _is_zspy(place: Path) -> bool:
    """Return True for a folder that is such a store."""
    try:
        told = json.loads((place / ".zattrs").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.get("file_format") == _FORMAT


def _fill(
    beside: Beside,
    found: Signals,
    parts: Sequence[Held],
    passages: Sequence[Passage],
    progress: Progress,
) -> None:
    """Write all of the store, and compare it with the source."""

    def advance(n_bytes: int) -> None:
        beside.check()
        progress.advance(size_bytes=n_bytes)

    names = group_names(found.signals, is_folder=True)
    attributes: dict[str, Any] = {
        "file_format": _FORMAT, "file_format_version": VERSION, "written_by": WRITTEN_BY,
    }  # fmt: skip
    root = zarr.open_group(beside.path, mode="w-", zarr_format=2, attributes=attributes)
    experiments = root.create_group(EXPERIMENTS)
    progress.begin("converting", size_bytes=found.size_bytes)
    streamed = []
    for number, (name, signal, part) in enumerate(zip(names, found.signals, parts, strict=True)):
        group = experiments.create_group(
            name, attributes={"package": "", "package_version": "", NOTE: part.note()}
        )
        _put_level(group, part.tree)
        for at, axis in enumerate(axes_of(signal)):
            _put_level(group.create_group(f"axis-{at}"), axis)
        for empty in ("learning_results", "attributes"):
            group.create_group(empty)
        data = _create(group, "data", signal.shape, signal.dtype, passages[number].chunk)
        streamed.append(stream(signal, _ZarrArray(data), passages[number], advance))
    zarr.consolidate_metadata(beside.path, zarr_format=2)
    progress.begin("verifying", size_bytes=found.size_bytes)
    stored: Any = zarr.open_group(beside.path, mode="r")[EXPERIMENTS]
    for name, signal, part, written in zip(names, found.signals, parts, streamed, strict=True):
        where = f"{beside.place}/{EXPERIMENTS}/{name}"
        check_level(where, stored[name], part.tree)
        for at, axis in enumerate(axes_of(signal)):
            check_level(f"{where}/axis-{at}", stored[name][f"axis-{at}"], _plain(axis))
        check_values(where, signal, _ZarrArray(stored[name]["data"]), written, advance)


def _put_level(group: Any, level: Mapping[str, Any]) -> None:
    """Write a dictionary into a group of its own."""
    attributes = {}
    for kind, name, value in entries(level):
        if kind == "attribute":
            attributes[name] = _plain_value(value)
        elif kind == "group":
            _put_level(group.create_group(name), value)
        else:
            _put_array(group, name, value)
    group.attrs.update(attributes)


def _put_array(group: Any, name: str, value: Any) -> None:
    cells = np.asarray(value)
    if cells.dtype.kind == "U":
        array = group.create_array(name, shape=cells.shape, dtype=str, chunks=cells.shape)
        array[...] = cells.astype(object)
        return
    _create(group, name, cells.shape, cells.dtype, cells.shape)[...] = cells


def _create(
    group: Any, name: str, shape: Sequence[int], dtype: np.dtype[Any], chunk: Sequence[int]
) -> Any:
    """Make an array of which every chunk is stored, zeros too: one that is missing is seen."""
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=tuple(max(1, edge) for edge in chunk),
        compressors=numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.SHUFFLE),
        filters=None,
        fill_value=None,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        config={"write_empty_chunks": True},
    )


def _plain(level: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in level.items()}


def _plain_value(value: Any) -> Any:
    """Return a number as Python's own, which JSON takes; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
