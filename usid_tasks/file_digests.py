r"""The digest ``blake3-tree-4MiB:hex`` of a file's bytes: BLAKE3 at the leaves and at the root.

The leaves are the file's pieces of 4 MiB (the last one shorter). The root hashes the line
``blake3-tree-4MiB <bytes>\n`` and the 32-byte digests of the pieces in order.

Nothing heavy is imported, so that a digest can be begun while the rest of a program is loaded.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from usid_tasks.errors import FileBusyError

FILE_ALGORITHM = "blake3-tree-4MiB"
PIECE_BYTES = 4 * 2**20

_CHANGED = "It is taken again once it has settled; wait until its writer is done."


def looks_of(path: Path) -> tuple[int, int, int, int]:
    """Return what changes when a file is written or replaced: size, mtime, ctime and inode.

    The digest, the values and the attributes of one conversion belong together if these are the
    same before and after; a writer can set mtime back, but not ctime.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class SourceDigest:
    """The digest of a file, taken by one thread beside other work from the moment this is made.

    Parameters
    ----------
    path
        The file.
    known
        Its digest, where it was taken before; nothing is read then.

    Attributes
    ----------
    looks
        :func:`looks_of` the file before the first byte was read.
    """

    def __init__(self, path: Path, known: str | None = None) -> None:
        self.looks = looks_of(path)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="usid-digest")
        if known is None:
            self._taken = self._pool.submit(file_digest, path, threads=1, progress=self._go_on)
        else:
            self._taken = Future()
            self._taken.set_result(known)

    def result(self) -> str:
        """Wait for the digest, and return it.

        Raises
        ------
        FileBusyError
            If the file changed while it was read.
        """
        return self._taken.result()

    def _go_on(self, _: int) -> None:
        if self._stop.is_set():
            raise InterruptedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._pool.shutdown()


def file_digest(
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> str:
    """Return the digest of a file's bytes, in memory that does not grow with the file.

    Parameters
    ----------
    path
        The file; it is read once, from its beginning to its end.
    progress
        Called with the number of bytes done since the last call, from the calling thread.
    threads
        Threads that read and hash; by default as many as processors, at most 4.

    Raises
    ------
    FileBusyError
        If the file changed while it was read.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        before = os.fstat(fd)
        root = blake3(f"{FILE_ALGORITHM} {before.st_size}\n".encode())
        for n_bytes, digest in _piece_digests(path, fd, before.st_size, threads=threads):
            root.update(digest)
            if progress is not None:
                progress(n_bytes)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileBusyError(path, "changed while it was read", _CHANGED)
    return f"{FILE_ALGORITHM}:{root.hexdigest()}"


def _piece_digests(
    path: Path, fd: int, size: int, *, threads: int | None
) -> Iterator[tuple[int, bytes]]:
    own = threading.local()

    def digest(start: int) -> tuple[int, bytes]:
        n_bytes = min(PIECE_BYTES, size - start)
        if not hasattr(own, "buffer"):
            own.buffer = memoryview(bytearray(min(PIECE_BYTES, size)))
        piece = own.buffer[:n_bytes]
        done = 0
        while done < n_bytes:
            got = os.preadv(fd, [piece[done:]], start + done)
            if not got:
                found = f"ended at byte {start + done} of {size} while it was read"
                raise FileBusyError(path, found, _CHANGED)
            done += got
        return n_bytes, blake3(piece).digest()

    starts = range(0, size, PIECE_BYTES)
    n_threads = min(len(starts), threads or min(4, os.cpu_count() or 1))
    if n_threads <= 1:
        yield from map(digest, starts)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        ahead: deque[Future[tuple[int, bytes]]] = deque()
        try:
            for start in starts:
                ahead.append(pool.submit(digest, start))
                if len(ahead) > 2 * n_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
