"""How HDF5 keeps the values of a dataset: layout, filters, what was written, and where."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import h5py
import numpy as np
from h5py import h5d, h5s, h5z
from numpy.typing import NDArray

from usid_tasks.errors import FileBusyError
from usid_tasks.hdf5_types import StoredType, name_of, stored_type
from usid_tasks.records import Elsewhere, Storage

_LAYOUTS = {
    h5d.COMPACT: "compact",
    h5d.CONTIGUOUS: "contiguous",
    h5d.CHUNKED: "chunked",
    h5d.VIRTUAL: "virtual",
}

ALLOCATED = {
    h5d.ALLOC_TIME_EARLY: "early",
    h5d.ALLOC_TIME_LATE: "late",
    h5d.ALLOC_TIME_INCR: "incremental",
}
"""When HDF5 allocates a dataset: when it is made, first written, or chunk by chunk."""

FILLED = {
    h5d.FILL_TIME_ALLOC: "allocated",
    h5d.FILL_TIME_NEVER: "never",
    h5d.FILL_TIME_IFSET: "if set",
}
"""When HDF5 writes fill values."""

DEFLATE, SHUFFLE, FLETCHER32, LZF, BLOSC, ZSTD = 1, 2, 3, 32000, 32001, 32015
DECODED_HERE = {
    DEFLATE: "deflate",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    LZF: "lzf",
    BLOSC: "blosc",
    ZSTD: "zstd",
}
"""The filters that are undone outside HDF5, by their registered number (LZF where it can be)."""

Rows = tuple[int, int]
Extent = tuple[int, ...] | int | None
"""What a virtual dataset takes of a source: a shape, a number of values, or whatever there is."""


def read_storage(dataset: h5py.Dataset) -> Storage:
    """Return how an open dataset is stored; of its values none is read, or a single one.

    Raises
    ------
    FileBusyError
        If another program is writing a file that holds values of a virtual dataset: HDF5 would
        show fill values.
    """
    held = dataset.id
    stored = stored_type(held.get_type())
    return storage_of(held, held.shape, stored, user_block_bytes=dataset.file.userblock_size)


def storage_of(
    held: h5d.DatasetID,
    shape: tuple[int, ...] | None,
    stored: StoredType,
    *,
    user_block_bytes: int,
) -> Storage:
    """Return how an open dataset of known shape and type is stored, see :func:`read_storage`.

    ``user_block_bytes`` is the size of what stands before HDF5's own bytes in the file.
    """
    look = _Look.at(held, shape, stored, user_block_bytes)
    layout = look.layout
    elsewhere: tuple[Elsewhere, ...] = ()
    if layout == "external":
        elsewhere = tuple(_external_files(h5py.Dataset(held)))
    elif layout == "virtual":
        elsewhere = tuple(_virtual_sources(h5py.Dataset(held)))
    names = tuple(
        entry[3].decode("ascii", "replace").split(";")[0].strip() or str(entry[0])
        for entry in look.filters
    )
    missing = [
        name
        for name, entry in zip(names, look.filters, strict=True)
        if not h5z.filter_avail(int(entry[0]))
    ]
    return Storage(
        layout,
        look.chunks,
        names,
        int(held.get_storage_size()),
        held.get_offset(),
        _unwritten_rows(look),
        elsewhere,
        _decoding_problem(h5py.Dataset(held), missing) if missing else "",
        look.way(),
        tuple((int(entry[0]), int(entry[1]), tuple(map(int, entry[2]))) for entry in look.filters),
        _most(look),
        _fill_bytes(look),
        (ALLOCATED[look.plist.get_alloc_time()], FILLED[look.plist.get_fill_time()]),
        name_of(held.get_type()),
    )


def why_not(dataset: h5py.Dataset) -> str:
    """Return why a dataset has to be read by h5py, empty if it can be read directly."""
    held = dataset.id
    stored = stored_type(held.get_type())
    return _Look.at(held, held.shape, stored, dataset.file.userblock_size).why_not()


class _Look(NamedTuple):
    """An open dataset with its creation properties."""

    held: h5d.DatasetID
    shape: tuple[int, ...] | None
    stored: StoredType
    user_block_bytes: int
    plist: h5py.h5p.PropDCID
    layout: str
    chunks: tuple[int, ...] | None
    filters: tuple[Any, ...]

    @classmethod
    def at(
        cls,
        held: h5d.DatasetID,
        shape: tuple[int, ...] | None,
        stored: StoredType,
        user_block_bytes: int,
    ) -> _Look:
        plist = held.get_create_plist()
        layout = _LAYOUTS.get(plist.get_layout(), "unknown")
        if plist.get_external_count():
            layout = "external"
        chunks = plist.get_chunk() if layout == "chunked" else None
        filters = tuple(plist.get_filter(index) for index in range(plist.get_nfilters()))
        return cls(held, shape, stored, user_block_bytes, plist, layout, chunks, filters)

    def way(self) -> str:
        reason = self.why_not()
        if reason:
            return f"by h5py ({reason})"
        return "by offset" if self.layout == "contiguous" else "by chunk index"

    def why_not(self) -> str:
        if self.shape is None or len(self.shape) != 2:
            return f"{len(self.shape or ())} dimensions"
        if self.layout not in ("contiguous", "chunked"):
            return f"{self.layout} storage"
        if self.layout == "contiguous" and self.held.get_offset() is None:
            return "never written"
        dtype = self.stored.dtype
        if not self.stored.is_shared or dtype is None:
            return "a type whose bytes NumPy does not share"
        unknown = [
            entry[3].decode("ascii", "replace") or str(entry[0])
            for entry in self.filters
            if not _is_decoded_here(int(entry[0]))
        ]
        if unknown:
            return f"the filter {', '.join(unknown)}"
        if dtype.subdtype is not None:
            return "cells that are arrays"
        if not self._filters_every_chunk():
            return "partial chunks that are not filtered"
        return "a user block before the file" if self.user_block_bytes else ""

    def _filters_every_chunk(self) -> bool:
        """Return False where chunks that overhang the dataset are, or may be, left unfiltered."""
        if self.chunks is None or not self.filters or self.shape is None:
            return True
        if not any(n % edge for n, edge in zip(self.shape, self.chunks, strict=True)):
            return True
        ask = _chunk_options()
        options = ctypes.c_uint(0)
        found = ask is not None and ask(self.plist.id, ctypes.byref(options)) >= 0
        return found and not options.value


def _most(look: _Look) -> tuple[int | None, ...] | None:
    """Return how far a dataset may grow (None: without end); None for a null dataspace."""
    if look.layout == "contiguous" or look.shape is None:
        return look.shape  # what lies in one piece never grows
    most = look.held.get_space().get_simple_extent_dims(True)  # noqa: FBT003 - h5py takes it so
    return tuple(None if limit == h5s.UNLIMITED else limit for limit in most)


def _fill_bytes(look: _Look) -> str:
    """Return the fill value that a writer set, as hexadecimal bytes; empty for HDF5's own."""
    dtype = look.stored.dtype
    if dtype is None or look.plist.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED:
        return ""
    try:
        value = np.zeros((), dtype)
        look.plist.get_fill_value(value)
    except (TypeError, ValueError, OSError, RuntimeError):
        return ""  # of a type that h5py cannot hold
    return "" if dtype.hasobject else value.tobytes().hex()


def _is_decoded_here(number: int) -> bool:
    return number in DECODED_HERE and (number != LZF or lzf_decompress() is not None)


@cache
def lzf_decompress() -> Callable[..., int] | None:
    """Return the decoder of h5py's own LZF filter; None where it is not found.

    It takes the address of the data and its size, the address of a buffer and its size, and
    returns the bytes that it wrote, 0 where the data is damaged or the buffer too small.
    """
    try:
        found = ctypes.CDLL(h5z.__file__).lzf_decompress
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
    found.restype = ctypes.c_uint
    return cast("Callable[..., int]", found)


@cache
def _chunk_options() -> Callable[..., int] | None:
    """Return HDF5's ``H5Pget_chunk_opts``, which h5py does not wrap; None where it is not found."""
    try:
        found = ctypes.CDLL(h5py.h5p.__file__).H5Pget_chunk_opts
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_uint)]
    return cast("Callable[..., int]", found)


def _unwritten_rows(look: _Look) -> tuple[Rows, ...]:
    """Return the rows of which no value, or not every value, was ever written."""
    shape, layout, held = look.shape, look.layout, look.held
    if not shape or not math.prod(shape):
        return ()
    if layout == "contiguous":
        return () if held.get_storage_size() else ((0, shape[0]),)
    if layout == "virtual":
        return _rows_where(_mapped_values(h5py.Dataset(held)) < math.prod(shape[1:]), 1, shape[0])
    chunks = look.chunks
    if chunks is None:
        return ()
    counts = [-(-size // edge) for size, edge in zip(shape, chunks, strict=True)]
    if held.get_num_chunks() >= math.prod(counts):
        return ()
    written = np.zeros(counts[0], dtype=np.int64)
    starts: list[int] = []
    held.chunk_iter(lambda chunk: starts.append(chunk.chunk_offset[0]))
    np.add.at(written, np.array(starts, dtype=np.int64) // chunks[0], 1)
    return _rows_where(written < math.prod(counts[1:]), chunks[0], shape[0])


def _rows_where(is_partial: NDArray[np.bool_], n_each: int, n_rows: int) -> tuple[Rows, ...]:
    """Return the runs of True as intervals of rows, ``n_each`` rows for each entry."""
    padded = np.concatenate([[False], is_partial, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded)) * n_each
    return tuple(
        (int(start), min(int(stop), n_rows))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    )


def _mapped_values(dataset: h5py.Dataset) -> NDArray[np.int64]:
    """Return how many values of each row of a virtual dataset come from a source."""
    mapped = np.zeros(dataset.shape[0], dtype=np.int64)
    for source in dataset.virtual_sources():
        try:
            n_points = int(source.vspace.get_select_npoints())
            low, high = source.vspace.get_select_bounds()
        except (RuntimeError, ValueError):  # an unlimited selection goes on to the end
            mapped += math.prod(dataset.shape)
            continue
        mapped[low[0] : high[0] + 1] += n_points // (high[0] + 1 - low[0])
    return mapped


def _decoding_problem(dataset: h5py.Dataset, missing: Sequence[str]) -> str:
    """Return what the first value cannot be decoded without, empty if it can or there is none.

    A filter that was optional, and not there either when the file was written, does no harm.
    """
    if not dataset.shape or not math.prod(dataset.shape):
        return ""
    try:
        dataset[(slice(0, 1),) * dataset.ndim]
    except (OSError, RuntimeError, ValueError):
        return f"HDF5 has no filter {', '.join(missing)} here"
    return ""


def _external_files(dataset: h5py.Dataset) -> Iterator[Elsewhere]:
    """Yield the raw files of external storage, looked for where HDF5 looks for them."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    origin = Path(os.fsdecode(dataset.file.filename)).resolve().parent
    prefix = prefix.replace("${ORIGIN}", str(origin))
    needed = math.prod(dataset.shape or (0,)) * dataset.id.get_type().get_size()
    for name, offset, size in dataset.external:
        part = min(int(size), needed)
        needed -= part
        path = Path(prefix, name)
        if not path.is_file():
            yield Elsewhere(name, f"no such file at {path.absolute()}")
        elif path.stat().st_size < offset + part:
            held = max(path.stat().st_size - offset, 0)
            yield Elsewhere(name, f"holds {held} of {part} bytes")
        else:
            yield Elsewhere(name)


def _virtual_sources(dataset: h5py.Dataset) -> Iterator[Elsewhere]:
    """Yield each file that a virtual dataset takes values from, with what is missing there."""
    wanted: dict[str, dict[str, Extent]] = {}
    for source in dataset.virtual_sources():
        extent: Extent
        try:
            n_points = int(source.vspace.get_select_npoints())
            is_whole = source.src_space.get_select_type() == h5s.SEL_ALL
            extent = n_points if is_whole else source.src_space.shape
        except (RuntimeError, ValueError):  # unlimited selections have no number of points
            extent = None
        wanted.setdefault(source.file_name, {})[source.dset_name] = extent
    for name, members in wanted.items():
        yield Elsewhere(name, _source_problem(dataset.file, name, members))


def _source_problem(file: h5py.File, name: str, members: dict[str, Extent]) -> str:
    """Return what HDF5 would not find of a virtual dataset's sources in one file."""
    if name == ".":
        return _missing_members(file, members)
    reasons = []
    for path in _places(os.fsdecode(file.filename), _first_block(name)):
        if not path.is_file():
            continue
        try:
            with h5py.File(path, "r") as other:
                return _missing_members(other, members)
        except OSError as error:
            if "lock" in str(error):
                raise FileBusyError(
                    path, f"a program holds it open for writing ({error})",
                    "try again when the writer is done",
                ) from error  # fmt: skip
            reasons.append(f"cannot be opened: {error}")
    return reasons[0] if reasons else "no such file"


def _missing_members(file: h5py.File, members: dict[str, Extent]) -> str:
    for name, extent in members.items():
        held = file.get(_first_block(name))
        if not isinstance(held, h5py.Dataset):
            return f"no dataset {name}"
        if extent is not None and not _has(held.shape or (), extent):
            taken = f"{extent} values are" if isinstance(extent, int) else f"a part of {extent} is"
            return f"{name} of shape {held.shape}, where {taken} taken"
    return ""


def _has(shape: Sequence[int], extent: tuple[int, ...] | int) -> bool:
    if isinstance(extent, int):  # a dataset taken as a whole must fit exactly
        return math.prod(shape) == extent
    return len(shape) == len(extent) and all(
        size >= wanted for size, wanted in zip(shape, extent, strict=True)
    )


def _first_block(name: str) -> str:
    """Return the name that HDF5 tries first where ``%b`` stands for the number of a block."""
    return "%".join(part.replace("%b", "0") for part in name.split("%%"))


def _places(main: str, name: str) -> Iterator[Path]:
    """Yield where HDF5 looks for the source file ``name`` of a virtual dataset, in its order."""
    source = Path(name)
    if source.is_absolute():
        yield source
        source = Path(source.name)
    for prefix in filter(None, os.environ.get("HDF5_VDS_PREFIX", "").split(os.pathsep)):
        yield Path(prefix.replace("${ORIGIN}", str(Path(main).absolute().parent)), source)
    yield Path(main).absolute().parent / source
    yield source.absolute()
    yield Path(main).resolve().parent / source
