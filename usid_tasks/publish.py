"""Publishing into a destination: beside, durable, renamed into place, the receipt last.

What lies in DEST::

    <key>.zarr, <key>.receipt.json        a store and its proof; without it, it is not there
    .usid/claims/                         who works on which source (usid_tasks.claims)
    .usid/staging/<run>/<n>/              what is being written (usid_tasks.staging)
    .usid/superseded/<key>/<digest>/      former stores with their receipts, never deleted

A published store is never altered, replaced or deleted. Only what no receipt vouches for and we
staged ourselves is removed, and receipts of outcomes without a store give way to newer ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from usid_tasks import durable
from usid_tasks.claims import Claim
from usid_tasks.errors import ClaimedError, RefusedError, SettingsError, UsidError
from usid_tasks.places import receipt_path, store_path
from usid_tasks.receipts import Receipt, read_receipt, receipt_bytes
from usid_tasks.staging import Slot, slots

_KEPT_S = 7 * 24 * 3600
"""How long unfinished work stays, since something of it was done."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What lies at a source's place now, and where its former store went.

    ``is_kept`` is true where the former store stays, as the new outcome has none and the
    source's content is not known to have changed; its receipt then tells of the attempt in
    ``extra["last_attempt"]``.
    """

    receipt: Path
    store: Path | None = None
    superseded: Path | None = None
    is_kept: bool = False


@dataclass(frozen=True, kw_only=True)
class Mended:
    """One thing that a killed run left, and what was done about it."""

    key: str
    what: str


class Destination:
    """One root of stores, on one file system.

    Parameters
    ----------
    dest
        The root.
    file_mode, dir_mode
        Modes of what is published (``0o664``, ``0o2775``), or None to follow the umask; the
        owner has to keep their rights on folders.
    fsync
        False trusts the machine not to lose power: nothing is flushed to the disk.
    renew_s, dead_after_s
        Of the claims; see :class:`usid_tasks.claims.Claim`.
    """

    def __init__(
        self,
        dest: Path,
        *,
        file_mode: int | None = None,
        dir_mode: int | None = None,
        fsync: bool = True,
        renew_s: float = 15.0,
        dead_after_s: float = 180.0,
    ) -> None:
        if dir_mode is not None and dir_mode & 0o700 != 0o700:
            raise SettingsError(
                "convert.dir_mode",
                f"is {dir_mode:#o}, expected the owner's 7: a folder has to be renamed",
                "Give a mode such as 2775.",
            )
        if file_mode is not None and not file_mode & 0o400:
            raise SettingsError(
                "convert.file_mode",
                f"is {file_mode:#o}, which its owner cannot read",
                "Give a mode such as 0664.",
            )
        self.dest = dest
        self.file_mode = file_mode
        self.dir_mode = dir_mode
        self.fsync = fsync
        self.renew_s = renew_s
        self.dead_after_s = dead_after_s

    @property
    def control(self) -> Path:
        """The folder of claims, staging and superseded stores."""
        return self.dest / durable.CONTROL

    def storage_now_ns(self) -> int:
        """Return the time of the destination's own clock."""
        durable.make_folders(self.control, mode=self.dir_mode)
        return durable.storage_now_ns(self.control)

    @contextmanager
    def claim(self, key: str, *, run_id: str) -> Iterator[Claim]:
        """Hold the claim on one source; ClaimedError where another holds it."""
        durable.make_folders(self.control / "claims", mode=self.dir_mode)
        with Claim(
            self.dest,
            key,
            run_id=run_id,
            renew_s=self.renew_s,
            dead_after_s=self.dead_after_s,
        ) as claim:
            yield claim

    def staging(self, claim: Claim, *, work: str | None = None) -> Path:
        """Return a path to write the claimed source's store to.

        It is not there yet, but where ``work`` is given and a killed run left the same work
        there. What other works left for this source is removed.
        """
        own = self.unfinished(claim.key, work) if work is not None else None
        for slot in slots(self.dest, fsync=self.fsync):
            if slot.is_unfinished and slot.key == claim.key and slot != own:
                claim.check()
                slot.remove()
        return (self._taken_over(own, claim) if own else self._new_slot(claim, work)).store

    def _taken_over(self, slot: Slot, claim: Claim) -> Slot:
        """Return a killed run's slot under another name: if it lives after all, it fails there."""
        claim.check()
        run = self.control / "staging" / claim.run_id
        durable.make_folders(run, mode=self.dir_mode)
        place = next(run / str(n) for n in count() if not (run / str(n)).exists())
        with durable.writing(place):
            os.rename(slot.folder, place)  # noqa: PTH104 - the kill tests count os.rename
            with suppress(OSError):  # the run has other slots
                slot.folder.parent.rmdir()
        return Slot(self.dest, place, self.fsync)

    def unfinished(self, key: str, work: str) -> Slot | None:
        """Return what a killed run left of a work, if anything."""
        for slot in slots(self.dest, fsync=self.fsync):
            if slot.is_unfinished and (slot.key, slot.work) == (key, work):
                return slot
        return None

    def discard(self, staged: Path) -> None:
        """Remove a staged store that was not published; nothing where it was."""
        slot = Slot(self.dest, staged.parent, self.fsync)
        if slot.folder.exists() and not slot.pending.exists():
            slot.remove()

    def publish(self, staged: Path | None, receipt: Receipt, claim: Claim) -> Published:
        """Put a staged store and its receipt, or a receipt alone, in the source's place.

        A former store moves to the superseded ones together with its receipt, also where its
        digest is the same. An outcome without a store displaces one only where both digests
        of the source are known and differ; otherwise the former store is kept.

        Parameters
        ----------
        staged
            What :meth:`staging` gave, complete and verified; None for an outcome without a store.
        receipt
            The receipt; it has arrays exactly where there is a store.
        claim
            The source's claim, held.

        Raises
        ------
        RefusedError
            If something that has no receipt lies at the place, or on another file system.
        ClaimedError
            If the claim was lost.
        UsidError
            If the destination cannot be written, or the former receipt is damaged.
        """
        key = claim.key
        if receipt.source.key != key:
            raise ValueError(f"a receipt of {receipt.source.key!r} under the claim of {key!r}")
        if (staged is not None) != receipt.has_store:
            raise ValueError("a receipt has arrays exactly where it has a store")
        store, place = store_path(self.dest, key), receipt_path(self.dest, key)
        slot = Slot(self.dest, staged.parent, self.fsync) if staged is not None else None
        former = self._former(key, claim, own=slot)
        is_there = former is not None and os.path.lexists(store)
        if staged is None and former is not None and is_there and not _changed(former, receipt):
            self.restate(_with_attempt(former, receipt), claim)
            return Published(receipt=place, store=store, is_kept=True)
        if staged is not None:
            self._settle(staged)
        entry = self._entry(key, former) if former is not None and is_there else None
        self._commit(slot or self._new_slot(claim), receipt, claim, entry=entry)
        return Published(
            receipt=place, store=store if receipt.has_store else None, superseded=entry
        )

    def restate(self, receipt: Receipt, claim: Claim) -> Published:
        """Replace the receipt of a store that stays: the source was touched, its content not.

        Raises
        ------
        RefusedError
            If the store at the place is not the one the receipt describes.
        """
        store, place = store_path(self.dest, claim.key), receipt_path(self.dest, claim.key)
        former = self._former(claim.key, claim, own=None)
        if former is None or former.arrays != receipt.arrays or not store.exists():
            raise RefusedError(
                place, "the store there is not the one described", "Convert the source again."
            )
        self._commit(self._new_slot(claim), receipt, claim, entry=None)
        return Published(receipt=place, store=store)

    def mend(self, *, run_id: str) -> tuple[Mended, ...]:
        """Finish or remove what killed runs left; to be called when a run starts.

        A slot is left alone while the claim on its source is held by a living process, and
        where it is work that a later run may take up, for a week.
        """
        done: list[Mended] = []
        for slot in slots(self.dest, fsync=self.fsync):
            key = slot.key
            if key is None:
                age_s = (self.storage_now_ns() - slot.folder.stat().st_mtime_ns) / 1e9
                if age_s > self.dead_after_s:
                    slot.remove()
                    done.append(Mended(key="", what=f"removed the unnamed {slot.folder}"))
                continue
            if slot.is_unfinished and slot.age_s < _KEPT_S:
                continue
            try:
                with self.claim(key, run_id=run_id) as claim:
                    done.append(Mended(key=key, what=self._mend(slot, key, claim)))
            except ClaimedError:
                continue  # its owner lives, or another run works on the source
            except UsidError as error:
                done.append(Mended(key=key, what=f"could not be mended: {error}"))
        for run in (self.control / "staging").glob("*"):
            with suppress(OSError):  # not empty
                run.rmdir()
        return tuple(done)

    def _mend(self, slot: Slot, key: str, claim: Claim) -> str:
        """Finish a dead slot, or remove it, and return what was done."""
        if not slot.folder.exists():
            return "was mended by another run"
        receipt = read_receipt(slot.pending)
        entry = slot.entry
        if entry is not None and entry.is_dir() and not any(entry.iterdir()):
            entry.rmdir()
        if receipt is None:
            slot.remove()
            return "removed what was half written"
        store = store_path(self.dest, key)
        has_place = not receipt_path(self.dest, key).exists()
        is_new = os.path.lexists(store) and not slot.is_moving(key)
        # a store is either still staged or in its place; what else is there is not of this slot
        is_whole = slot.store.exists() != is_new if receipt.has_store else not is_new
        if not has_place or not is_whole:
            slot.put_back(key)
            slot.remove()
            return "removed what was not published"
        slot.carry_out(key, dir_mode=self.dir_mode, check=claim.check)
        return "published what was complete"

    def _former(self, key: str, claim: Claim, *, own: Slot | None) -> Receipt | None:
        """Return the receipt in place; what a dead run left half way there is mended first."""
        store, place = store_path(self.dest, key), receipt_path(self.dest, key)
        if os.path.lexists(store) and not place.exists():
            for slot in slots(self.dest, fsync=self.fsync):
                if slot.key == key and slot != own:
                    self._mend(slot, key, claim)
        former = read_receipt(place)
        if os.path.lexists(store) and (former is None or not former.has_store):
            raise RefusedError(
                store,
                "is there without a receipt: usid did not write it, and never touches it",
                "Move it away, or choose another DEST.",
            )
        return former

    def _new_slot(self, claim: Claim, work: str | None = None) -> Slot:
        claim.check()
        if not re.fullmatch(r"\w[\w.-]{0,99}", claim.run_id):
            raise ValueError(f"run id {claim.run_id!r} cannot be the name of a folder")
        run = self.control / "staging" / claim.run_id
        for n in count():
            durable.make_folders(run, mode=self.dir_mode)
            slot = Slot(self.dest, run / str(n), self.fsync)
            with durable.writing(slot.folder):
                try:
                    slot.folder.mkdir()
                except (FileExistsError, FileNotFoundError):
                    continue  # taken, or the run's folder was removed with its last slot
            slot.note(claim.key, work=work, mode=self.file_mode)
            return slot
        raise AssertionError("unreachable")

    def _settle(self, staged: Path) -> None:
        durable.settle_tree(
            staged, file_mode=self.file_mode, dir_mode=self.dir_mode, fsync=self.fsync
        )

    def _entry(self, key: str, former: Receipt) -> Path:
        name = (former.source.digest or "unknown").replace(":", "-")
        above = self.control / "superseded" / key
        tried = (above / (f"{name}-{n}" if n > 1 else name) for n in count(1))
        return next(entry for entry in tried if not os.path.lexists(entry))

    def _commit(self, slot: Slot, receipt: Receipt, claim: Claim, *, entry: Path | None) -> None:
        parent = store_path(self.dest, claim.key).parent
        durable.make_folders(parent, mode=self.dir_mode)
        for folder in (parent, slot.folder):
            if folder.stat().st_dev != self.dest.stat().st_dev:
                raise RefusedError(
                    folder,
                    f"lies on another file system than {self.dest}, where renames cannot reach",
                    "Make each file system a DEST of its own.",
                )
        if entry is not None:
            slot.note(claim.key, work=slot.work, entry=entry, mode=self.file_mode)
        durable.write_file(
            slot.pending, receipt_bytes(receipt), mode=self.file_mode, durable=self.fsync
        )
        slot.carry_out(claim.key, dir_mode=self.dir_mode, check=claim.check)


def _changed(former: Receipt, receipt: Receipt) -> bool:
    digests = {former.source.digest, receipt.source.digest}
    return len(digests) == 2 and None not in digests


def _with_attempt(former: Receipt, receipt: Receipt) -> Receipt:
    told = receipt.to_json()
    names = ("outcome", "reason", "findings", "source", "started", "finished", "extra")
    attempt = {name: told[name] for name in names}
    return replace(former, extra={**former.extra, "last_attempt": attempt})
