"""HDF5 filters undone outside HDF5's lock: shuffle, deflate, Fletcher-32, LZF, Zstandard, Blosc.

The last stage of a chunk can write into a given buffer. The long loops release Python's lock,
but for the checksum of Fletcher-32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import igzip_lib, isal_zlib
from numcodecs import Blosc, Fletcher32, Zstd
from numpy.typing import NDArray

from usid_tasks.storage import (
    BLOSC,
    DECODED_HERE,
    DEFLATE,
    FLETCHER32,
    LZF,
    SHUFFLE,
    ZSTD,
    lzf_decompress,
)

_CHECKSUM_BYTES = 4
_TILE_BYTES = 2**18


@dataclass(frozen=True)
class Filter:
    """One filter of the pipeline, by its registered number, with its parameters."""

    number: int
    values: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name, as people say it."""
        return DECODED_HERE[self.number]

    def undo(self, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None) -> Any:
        """Return the bytes before this filter.

        Parameters
        ----------
        data
            1-D, contiguous.
        most
            Bytes that they may come to.
        out
            Where they are wanted, of just the right size; some filters put them elsewhere.

        Raises
        ------
        ValueError, RuntimeError, OSError
            If the bytes are damaged.
        """
        return _UNDO[self.number](self, data, most, out)


def _inflate(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> bytes:
    del stage, out
    stream = isal_zlib.decompressobj()
    try:
        found: bytes = stream.decompress(data, most)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub lacks the base
        raise OSError(f"it cannot be inflated: {error}") from error
    if not stream.eof:
        raise OSError(f"it cannot be inflated: it is cut short, or more than {most} bytes")
    return found


def _unshuffle(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Return elements put together from planes: all first bytes, then all second bytes, ..."""
    del most
    itemsize = stage.values[0]
    if itemsize <= 1:
        return data
    out = np.empty(data.size, np.uint8) if out is None else out
    n_elements = data.size // itemsize
    whole = n_elements * itemsize
    planes, elements = data[:whole].reshape(itemsize, -1), out[:whole].reshape(-1, itemsize)
    step = max(1, _TILE_BYTES // itemsize)
    for first in range(0, n_elements, step):
        some = slice(first, first + step)
        for number in range(itemsize):
            elements[some, number] = planes[number, some]
    out[whole:] = data[whole:]
    return out


def _checked(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    del stage, most, out
    if data.size < _CHECKSUM_BYTES:
        raise OSError(f"it is {data.size} bytes, and has no checksum")
    try:
        Fletcher32().decode(data)
    except RuntimeError as error:
        raise OSError(f"it does not match its checksum: {error}") from error
    return data[:-_CHECKSUM_BYTES]


def _unlzf(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    del stage
    decompress = lzf_decompress()
    assert decompress is not None, "LZF is left to h5py where its decoder is not found"
    out = np.empty(most, np.uint8) if out is None else out
    address = [ctypes.c_void_p(each.ctypes.data) for each in (data, out)]
    n_bytes = decompress(address[0], data.size, address[1], out.size) if data.size else 0
    if not n_bytes:
        raise OSError("it is no LZF, or comes to more than a chunk")
    return out[:n_bytes]


def _unzstd(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> Any:
    del stage, most, out  # into a larger buffer it would not tell how much it decoded
    return Zstd().decode(data)


def _unblosc(
    stage: Filter, data: NDArray[np.uint8], most: int, out: NDArray[np.uint8] | None
) -> Any:
    del stage, most
    is_whole = out is not None and int.from_bytes(data[4:8].tobytes(), "little") == out.size
    return Blosc().decode(data, out if is_whole else None)


_UNDO: dict[int, Callable[[Filter, NDArray[np.uint8], int, NDArray[np.uint8] | None], Any]] = {
    DEFLATE: _inflate,
    SHUFFLE: _unshuffle,
    FLETCHER32: _checked,
    LZF: _unlzf,
    ZSTD: _unzstd,
    BLOSC: _unblosc,
}


def decode(
    filters: Sequence[Filter],
    skipped: int,
    data: NDArray[np.uint8],
    size_bytes: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return a chunk with its filters undone.

    Parameters
    ----------
    filters
        In the order in which they were applied.
    skipped
        Which were left out, a bit each.
    data
        1-D, as stored.
    size_bytes
        What the chunk must come to.
    out
        Where the chunk is wanted, ``size_bytes`` long; it may come to lie elsewhere.

    Raises
    ------
    OSError
        If it cannot be decoded, or comes to another size.
    """
    applied = [each for bit, each in enumerate(filters) if not skipped >> bit & 1]
    most = size_bytes + _CHECKSUM_BYTES * len(applied)
    for left in reversed(range(len(applied))):
        try:
            found = applied[left].undo(data, most, out if left == 0 else None)
        except (ValueError, RuntimeError) as error:
            raise OSError(f"it cannot be decoded: {error}") from error
        data = found if isinstance(found, np.ndarray) else np.frombuffer(found, np.uint8)
    if data.size != size_bytes:
        raise OSError(f"it decodes to {data.size} bytes, expected {size_bytes}")
    return data
