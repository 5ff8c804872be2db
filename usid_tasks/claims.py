"""One exclusive, renewed claim per source, so that two runs or hosts never work on one store.

A claim is the file ``DEST/.usid/claims/<hash of the key>.json``, made with ``O_EXCL``, which
every file system worth the name does atomically. Its owner rewrites it every `renew_s`, so that
the storage stamps it with its own clock.

A claim is dead if its owner ran here, in this boot and this process namespace, and that process
is gone (its number may have been given to another: the start time tells). A process that is
known to live is never dead, however late its renewal. Any other claim is dead if it was not
renewed for `dead_after_s` by the storage's clock.

Taking over: whoever would remove a dead claim first claims *that*, by a file named after the
dead claim's content, so that only one may; then renames the dead claim aside, looks whether it
is what was judged dead, and puts it back by a hard link if it is not. Then the claim is created
exclusively, like any other. An owner that was judged dead by mistake (a machine that slept)
finds out by :meth:`Claim.check`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from usid_tasks.durable import CONTROL, make_folders, storage_now_ns, writing
from usid_tasks.errors import ClaimedError, UsidError
from usid_tasks.owners import Owner
from usid_tasks.places import folded

_ATTEMPTS = 5
# a claim put back after a wrong judgement is missing for less than this
_GAP_S = 1.0


@dataclass(frozen=True)
class _Found:
    """A claim file as it was read."""

    content: bytes
    mtime_ns: int

    @property
    def owner(self) -> Owner | None:
        """Its owner, or None in the moment between creating and writing it."""
        return Owner.from_json(self.content)

    @property
    def identity(self) -> str:
        seed = self.content if self.owner else self.content + str(self.mtime_ns).encode()
        return hashlib.sha256(seed).hexdigest()[:32]


class Claim:
    """The claim on one source, held from ``with`` to its end.

    Parameters
    ----------
    dest
        Root of the stores.
    key
        The source's ``/``-path in DEST.
    run_id
        Name of the run, for whoever finds the source claimed.
    renew_s, dead_after_s
        Seconds between renewals, and without one until others may take it.

    Raises
    ------
    ClaimedError
        On entering, if another holds it; it names the holder.
    """

    def __init__(
        self,
        dest: Path,
        key: str,
        *,
        run_id: str,
        renew_s: float = 15.0,
        dead_after_s: float = 180.0,
    ) -> None:
        self.key = key
        self.run_id = run_id
        name = hashlib.sha256(folded(key).encode("utf-8", "surrogatepass")).hexdigest()[:40]
        self.path = dest / CONTROL / "claims" / f"{name}.json"
        self._renew_s = renew_s
        self._dead_after_s = dead_after_s
        self._content = b""
        self._renewed_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("a claim is held once at a time")
        make_folders(self.path.parent)
        self._content = Owner.this(key=self.key, run_id=self.run_id).to_json()
        _acquire(self.path, self._content, dead_after_s=self._dead_after_s)
        self._renewed_at = time.monotonic()
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep, name=f"claim {self.key}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        found = _read(self.path)
        if found is not None and self._is_own(found):
            _remove(self.path, self._is_own)
        self._content = b""

    def check(self) -> None:
        """Return if the claim is still held, renewed lately; to be called before publishing.

        Raises
        ------
        ClaimedError
            If another took it over, or it has gone.
        UsidError
            If the storage does not answer.
        """
        if self._thread is None:
            raise RuntimeError("the claim is not held")
        is_late = time.monotonic() - self._renewed_at > self._renew_s
        with writing(self.path):
            if self._renew(write=is_late):
                return
        found = _read(self.path)
        owner = found.owner if found else None
        raise ClaimedError(
            self.key,
            "the claim of this run was lost: "
            + (f"{owner} has taken it over" if owner else "its file has gone"),
            "Nothing was published; the other run finishes it, or the next one does.",
        )

    def _is_own(self, found: _Found) -> bool:
        return found.content == self._content

    def _keep(self) -> None:
        while not self._stop.wait(self._renew_s):
            try:
                if not self._renew(write=True):
                    return
            except OSError:
                continue  # a storage that is away for a while; check() tells if it stays away

    def _renew(self, *, write: bool) -> bool:
        """Return False where the file is another's or has gone, else rewrite its own bytes."""
        until = time.monotonic() + _GAP_S
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR)
                try:
                    if os.pread(fd, len(self._content) + 1, 0) != self._content:
                        return False
                    if write:
                        os.pwrite(fd, self._content, 0)
                        os.fsync(fd)
                        self._renewed_at = time.monotonic()
                    return True
                finally:
                    os.close(fd)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                if time.monotonic() > until:
                    return False
                time.sleep(_GAP_S / 20)


def _acquire(path: Path, content: bytes, *, dead_after_s: float) -> None:
    """Create a claim file exclusively, taking over a dead one; ClaimedError if that fails."""
    found: _Found | None = None
    for _ in range(_ATTEMPTS):
        if _create(path, content):
            return
        found = _read(path)
        if found is None:
            continue
        if not _is_dead(path, found, dead_after_s=dead_after_s):
            break
        # named after what is judged dead: only one process can hold the right to remove it
        right = path.with_name(f"{path.stem[:40]}.{found.identity}.taken")
        _acquire(right, content, dead_after_s=dead_after_s)
        try:
            if _read(path) == found:
                _remove(path, found.__eq__)
        finally:
            right.unlink(missing_ok=True)
    owner = found.owner if found else None
    raise ClaimedError(
        owner.key if owner else path,
        f"{owner or 'another process'} is working on it",
        f"Wait for it or stop it; if it is dead, its claim is free after {dead_after_s:g} s.",
    )


def _create(path: Path, content: bytes) -> bool:
    with writing(path):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            os.write(fd, content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
    return True


def _read(path: Path) -> _Found | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsidError(
            path,
            f"the claim cannot be read ({error.strerror})",
            "Check that the destination is mounted and that you may read it.",
        ) from error
    try:
        return _Found(os.read(fd, 2**16), os.fstat(fd).st_mtime_ns)
    finally:
        os.close(fd)


def _remove(path: Path, is_judged: Callable[[_Found], bool]) -> bool:
    """Remove a claim file if it still is what was judged; put anything else back."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.aside")
    try:
        os.rename(path, aside)  # noqa: PTH104 - the tests count os.rename
    except FileNotFoundError:
        return False
    found = _read(aside)
    if found is not None and is_judged(found):
        aside.unlink()
        return True
    if found is not None:
        try:
            os.link(aside, path)  # unlike a rename, never over a file that is there
        except FileExistsError:
            pass  # a third has claimed meanwhile; the owner finds out by check()
        except OSError:  # no hard links here
            _create(path, found.content)
    aside.unlink(missing_ok=True)
    return False


def _is_dead(path: Path, found: _Found, *, dead_after_s: float) -> bool:
    owner = found.owner
    is_alive = owner.is_alive if owner else None
    if is_alive is not None:
        return not is_alive
    age_s = (storage_now_ns(path.parent) - found.mtime_ns) / 1e9
    return age_s > dead_after_s
