"""The codecs of a store: what Zarr 3 metadata says of them, what they do, what memory they take.

Each of them is read by a standard install of zarr-python. Encoding and decoding release the GIL.
In every thread but the main one Blosc works in that thread alone and takes no lock, and in the main
thread too once zarr-python is imported: numcodecs decides so, and nothing is set here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numcodecs import Blosc, Zstd
from numcodecs.blosc import list_compressors
from numpy.typing import NDArray

from usid_tasks.codec_names import CODEC_NAMES, level_of
from usid_tasks.errors import RefusedError, SettingsError
from usid_tasks.model import JSON

Buffer = bytes | bytearray | memoryview | NDArray[Any]
Shuffle = Literal["noshuffle", "shuffle", "bitshuffle"]

_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
# four bytes of version and flags, then the sizes: decoded, of a block, encoded
_BLOSC_HEADER = struct.Struct("<4x3I")
_BLOSC_LARGEST = 2**31 - 1 - _BLOSC_HEADER.size
_BLOSC_HIGHEST = 9
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER = 18
_ZSTD_HIGHEST = 22
# what level 0 means
_ZSTD_USUAL = 3

_MIB = 2**20
# level to the MiB that encoding works in: measured, with some room
_ZSTD_WORK = {
    2: 0.5, 3: 1, 4: 2.5, 5: 4, 6: 4, 8: 7, 9: 14, 11: 24, 12: 44, 15: 68, 19: 84, 20: 164, 21: 328,
    22: 720,
}  # fmt: skip
_BLOSC_WORK = {"zstd": {3: 1.25, 5: 3.25, 6: 6.5, 8: 9.5, 9: 19.0}}
_OTHER_WORK = {9: 2.25}
# of small chunks encoding never takes more than so many times their size, and a quarter MiB
_WORK_COPIES = 36


class Coder(Protocol):
    """Encodes and decodes the chunks of an array; can be pickled, and used by several threads."""

    def encode(self, chunk: Buffer) -> bytes | memoryview:
        """Return what is stored of a chunk; without a codec the memory of the chunk itself.

        Raises
        ------
        ValueError
            If the chunk is not in C order without gaps.
        RefusedError
            If it is larger than the codec takes.
        """

    def decode(self, data: Buffer, out: NDArray[Any]) -> None:
        """Fill a chunk, in C order without gaps, with what was stored of one.

        Raises
        ------
        ValueError
            If the data are damaged, or were made of more or fewer bytes than ``out`` has.
        """


@dataclass(frozen=True)
class Codec:
    """A codec and its level.

    Attributes
    ----------
    compressor
        ``none``, ``zstd``, or ``blosc-`` and the name of what Blosc compresses with.
    level
        Effort: higher is smaller and slower.
    shuffle
        How Blosc sorts the bytes or bits of a block by their place within an element.
    checksum
        Whether Zstandard adds one.
    blocksize
        Bytes that Blosc compresses at once; 0 where Blosc decides.
    """

    compressor: str
    level: int = 0
    shuffle: Shuffle = "noshuffle"
    checksum: bool = False
    blocksize: int = 0

    @property
    def name(self) -> str:
        """The name that :func:`parse_codec` reads, without the level."""
        is_plain = not self._cname or self.shuffle == "shuffle"
        return self.compressor if is_plain else f"{self.compressor}-{self.shuffle}"

    @property
    def is_compressed(self) -> bool:
        """Whether what is stored differs from what is encoded."""
        return self.compressor != "none"

    @property
    def _cname(self) -> str:
        return self.compressor.removeprefix("blosc-") if self.compressor.startswith("blosc") else ""

    def document(self, itemsize: int) -> list[dict[str, JSON]]:
        """Return the codecs that follow ``bytes`` in the document of an array: none or one.

        Parameters
        ----------
        itemsize
            Bytes of an element; 1 for text of any length.
        """
        if not self.is_compressed:
            return []
        if self.compressor == "zstd":
            return [
                {
                    "name": "zstd",
                    "configuration": {"level": self.level, "checksum": self.checksum},
                }
            ]
        configuration = {
            "typesize": itemsize,
            "cname": self._cname,
            "clevel": self.level,
            "shuffle": self.shuffle,
            "blocksize": self.blocksize,
        }
        return [{"name": "blosc", "configuration": configuration}]

    def coder(self, itemsize: int) -> Coder:
        """Return what encodes and decodes chunks of elements of ``itemsize`` bytes."""
        if not self.is_compressed:
            return _PlainCoder()
        if self.compressor == "zstd":
            return _ZstdCoder(Zstd(self.level, self.checksum))
        shuffle = _SHUFFLES[self.shuffle]
        blosc = Blosc(self._cname, self.level, shuffle, self.blocksize, typesize=itemsize)
        return _BloscCoder(blosc)

    def encode_bytes(self, chunk_bytes: int) -> int:
        """Return the most memory that encoding a chunk takes beside the chunk, in bytes.

        That is the encoded chunk, as large as the codec can make it, and what it works in.
        Decoding takes 2.5 MiB at most beside the data and the chunk. Where Blosc uses several
        threads, which it does in the main thread alone, each of them takes what it works in.
        """
        if not self.is_compressed:
            return 0
        if self.compressor == "zstd":
            encoded = chunk_bytes + (chunk_bytes >> 8) + 64
            table = _ZSTD_WORK
        else:
            encoded = chunk_bytes + _BLOSC_HEADER.size
            table = _BLOSC_WORK.get(self._cname, _OTHER_WORK)
        level = self.level or _ZSTD_USUAL
        most = next(mib for highest, mib in table.items() if level <= highest)
        return encoded + min(int(most * _MIB), _WORK_COPIES * chunk_bytes + _MIB // 4)

    def __str__(self) -> str:
        return f"{self.name} {self.level}" if self.is_compressed else self.name

    def to_json(self) -> dict[str, JSON]:
        """Return name and level, as :func:`parse_codec` takes them."""
        return {"name": self.name, "level": self.level}


NO_CODEC = Codec("none")
"""What stores chunks as they are."""


def parse_codec(name: str, level: int | None = None) -> Codec:
    """Return the codec of a name that people write.

    Parameters
    ----------
    name
        One of :data:`usid_tasks.codec_names.CODEC_NAMES`. Blosc shuffles bytes, unless the name
        ends in ``-bitshuffle`` or ``-noshuffle``.
    level
        None for the codec's own default: 3 for ``zstd``, 5 for Blosc.

    Raises
    ------
    SettingsError
        If there is no such codec, or it has no such level.
    """
    try:
        level = level_of(name, level)
    except ValueError as error:
        remedy = f"Use one of {', '.join(CODEC_NAMES)}, and its levels."
        raise SettingsError("convert.codec", f"expected {error}", remedy) from None
    if not name.startswith("blosc-"):
        return Codec(name, level)
    compressor = name.removesuffix("-bitshuffle").removesuffix("-noshuffle")
    shuffle = name.removeprefix(compressor).removeprefix("-") or "shuffle"
    return Codec(compressor, level, cast("Shuffle", shuffle))


def from_document(codecs: Sequence[Mapping[str, JSON]], *, where: object = "the array") -> Codec:
    """Return the codec by what follows ``bytes`` in the document of an array.

    The ``typesize`` of Blosc is not kept: for reading it does not matter, and what is written has
    that of the array.

    Raises
    ------
    RefusedError
        If there is more than one codec, or one that is not known here; ``where`` is told then.
    """
    if not codecs:
        return NO_CODEC
    codec = _known(codecs[0]) if len(codecs) == 1 else None
    if codec is None:
        names = [told.get("name") if isinstance(told, Mapping) else told for told in codecs]
        raise RefusedError(
            where,
            f"is stored with the codecs {names}, expected zstd or blosc alone",
            "Only stores that usid wrote can be rechunked: convert the source anew.",
        )
    return codec


def _known(told: JSON) -> Codec | None:
    configuration = told.get("configuration") if isinstance(told, Mapping) else None
    if not isinstance(configuration, Mapping):
        return None
    if told.get("name") == "zstd":
        level, checksum = configuration.get("level", 0), bool(configuration.get("checksum", False))
        return Codec("zstd", level, checksum=checksum) if level <= _ZSTD_HIGHEST else None
    cname, level = configuration.get("cname"), configuration.get("clevel")
    shuffle = configuration.get("shuffle", "noshuffle")
    is_blosc = told.get("name") == "blosc" and cname in list_compressors()
    if not is_blosc or not isinstance(level, int) or shuffle not in _SHUFFLES:
        return None
    if not 0 <= level <= _BLOSC_HIGHEST:
        return None
    return Codec(f"blosc-{cname}", level, shuffle, blocksize=configuration.get("blocksize", 0))


def _flat(chunk: Buffer) -> NDArray[np.uint8]:
    """Return the bytes of a chunk, not copied."""
    array = chunk if isinstance(chunk, np.ndarray) else np.frombuffer(chunk, np.uint8)
    if not array.flags.c_contiguous:
        raise ValueError("a chunk in C order without gaps is expected")
    return array.reshape(-1).view(np.uint8)


def _flat_to_fill(out: NDArray[Any]) -> NDArray[np.uint8]:
    flat = _flat(out)
    if not flat.flags.writeable:
        raise ValueError("a chunk that can be written to is expected")
    return flat


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"a chunk of {found} bytes, expected {expected}")


@dataclass(frozen=True)
class _PlainCoder:
    """Stores chunks as they are."""

    def encode(self, chunk: Buffer) -> bytes | memoryview:
        return _flat(chunk).data

    def decode(self, data: Buffer, out: NDArray[Any]) -> None:
        flat, stored = _flat_to_fill(out), _flat(data)
        _check_size(stored.nbytes, flat.nbytes)
        flat[:] = stored


@dataclass(frozen=True)
class _BloscCoder:
    blosc: Any

    def encode(self, chunk: Buffer) -> bytes | memoryview:
        flat = _flat(chunk)
        if flat.nbytes > _BLOSC_LARGEST:
            raise RefusedError(
                "convert.codec",
                f"Blosc takes chunks of at most {_BLOSC_LARGEST} bytes, not of {flat.nbytes}",
                "Use smaller chunks, or the codec zstd.",
            )
        encoded: bytes = self.blosc.encode(flat)
        return encoded

    def decode(self, data: Buffer, out: NDArray[Any]) -> None:
        """Decode after a look at the header, which Blosc itself believes."""
        flat, stored = _flat_to_fill(out), _flat(data)
        if stored.nbytes < _BLOSC_HEADER.size:
            raise ValueError(f"{stored.nbytes} bytes, too few for Blosc")
        decoded, _, encoded = _BLOSC_HEADER.unpack_from(stored.data)
        _check_size(decoded, flat.nbytes)
        _check_size(stored.nbytes, encoded)
        try:
            self.blosc.decode(stored, flat)
        except RuntimeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class _ZstdCoder:
    zstd: Any

    def encode(self, chunk: Buffer) -> bytes | memoryview:
        encoded: bytes = self.zstd.encode(_flat(chunk))
        return encoded

    def decode(self, data: Buffer, out: NDArray[Any]) -> None:
        """Decode after a look at the header: what is shorter would leave the rest as it was."""
        flat, stored = _flat_to_fill(out), _flat(data)
        told = _frame_bytes(stored[:_ZSTD_HEADER].tobytes())
        if told is not None:
            _check_size(told, flat.nbytes)
        try:
            self.zstd.decode(stored, flat)
        except RuntimeError as error:
            raise ValueError(str(error)) from error


def _frame_bytes(head: bytes) -> int | None:
    """Return the decoded size that the header of a Zstandard frame tells, if it does."""
    if len(head) < len(_ZSTD_MAGIC) + 2 or not head.startswith(_ZSTD_MAGIC):
        raise ValueError("no frame of Zstandard")
    flags = head[4]
    is_single = flags >> 5 & 1
    at = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3]
    n_bytes = (is_single, 2, 4, 8)[flags >> 6]
    if not n_bytes:
        return None
    return int.from_bytes(head[at : at + n_bytes], "little") + (256 if n_bytes == 2 else 0)
