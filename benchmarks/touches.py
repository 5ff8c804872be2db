"""What a reading takes from a store, counted at the store itself."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Self

import zarr
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore


class CountingStore(WrapperStore[LocalStore]):
    """A store of one array that keeps each request: key, byte range, and bytes that came."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.requests: list[tuple[str, ByteRequest | None, int]] = []

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the store of an array's folder, to be read only."""
        return cls(LocalStore(folder, read_only=True))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes that are asked for, and keep the request."""
        found = await super().get(key, prototype, byte_range)
        self.requests.append((key, byte_range, 0 if found is None else len(found)))
        return found

    def touched(self, array: zarr.Array[Any]) -> dict[str, int]:
        """Return chunks decoded and bytes that came, for the requests since the last clear.

        A range of a shard is a chunk, a suffix its index, and a whole shard all of its chunks.
        """
        inside = 1
        if array.shards is not None:
            inside = math.prod(array.shards) // math.prod(array.chunks)
        chunks = n_bytes = 0
        for key, byte_range, size in self.requests:
            if key.startswith("c/"):
                n_bytes += size
                if byte_range is None:
                    chunks += inside
                elif isinstance(byte_range, RangeByteRequest):
                    chunks += 1
        return {"chunks": chunks, "bytes": n_bytes}


def forget(folder: Path) -> None:
    """Ask the page cache to forget the files of an array; those not yet on disk stay."""
    for file in folder.rglob("*"):
        if file.is_file():
            fd = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
