"""Slots of the staging folder, and the renames that carry a finished one to its place.

One slot, ``DEST/.usid/staging/<run>/<n>/``, belongs to one source while its claim is held:

``slot.json``
    The source's key, where its former store goes (``moves_to``, relative to DEST), and which work
    it is (``work``), for a run that takes up what a killed one left.
``store.zarr``
    The store, being written and checked.
``receipt.json``
    The receipt. It is written last, when all of the store is durable: from then on the slot is
    *committed*, and whoever finds it after a kill can carry it out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from usid_tasks import durable
from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.places import receipt_path, store_path

_STAGED = "store.zarr"
_PENDING = "receipt.json"
_NOTE = "slot.json"
_FORMER = "former.json"


@dataclass(frozen=True)
class Slot:
    """A folder of the staging area of `dest`."""

    dest: Path
    folder: Path
    fsync: bool = True

    @property
    def store(self) -> Path:
        """Where the store is staged."""
        return self.folder / _STAGED

    @property
    def pending(self) -> Path:
        """The receipt that commits the slot."""
        return self.folder / _PENDING

    @property
    def key(self) -> str | None:
        """The source it belongs to; None in the moment between making and naming it."""
        key = self._note().get("key")
        return key if isinstance(key, str) else None

    @property
    def work(self) -> str | None:
        """The work that a later run may take up; None where it is begun anew."""
        work = self._note().get("work")
        return work if isinstance(work, str) else None

    @property
    def is_unfinished(self) -> bool:
        """Whether it is work that a later run may take up."""
        return self.work is not None and not self.pending.exists()

    @property
    def age_s(self) -> float:
        """Seconds since something of the work was done, by the clock of the storage."""
        newest = max(
            path.stat().st_mtime_ns for path in (self.folder, *self.folder.glob("*/*.done"))
        )
        return (durable.storage_now_ns(self.dest / durable.CONTROL) - newest) / 1e9

    @property
    def entry(self) -> Path | None:
        """The folder of the superseded stores that the former one goes to, if there is one."""
        moves_to = self._note().get("moves_to")
        return self.dest / moves_to if isinstance(moves_to, str) else None

    def note(
        self, key: str, *, work: str | None = None, entry: Path | None = None, mode: int | None
    ) -> None:
        """Write down what the slot is for."""
        moves_to = entry.relative_to(self.dest).as_posix() if entry else None
        data = json.dumps({"key": key, "moves_to": moves_to, "work": work}).encode()
        durable.write_file(
            self.folder / _NOTE, data, mode=mode, durable=self.fsync and entry is not None
        )

    def _note(self) -> dict[str, object]:
        try:
            note = json.loads((self.folder / _NOTE).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def carry_out(self, key: str, *, dir_mode: int | None, check: Callable[[], None]) -> None:
        """Rename a committed slot's parts to their places; can be begun again after a kill.

        The former receipt goes first, so that its store is not there any more; then the former
        store, then the new store, and the new receipt last.

        Parameters
        ----------
        key
            The source.
        dir_mode
            Mode of new folders, or None for the umask's.
        check
            Raises where the source's claim was lost; called before what shows.
        """
        store, receipt = store_path(self.dest, key), receipt_path(self.dest, key)
        entry = self.entry
        check()
        if entry is not None:
            durable.make_folders(entry, mode=dir_mode)
            self._move(receipt, entry / receipt.name)
            try:
                if self.is_moving(key):
                    self._move(store, entry / store.name)
            except UsidError:
                self.put_back(key)
                raise
        elif receipt.exists() and self.store.exists():
            # of an outcome without a store: no proof of anything once there is a store
            self._move(receipt, self.folder / _FORMER)
        check()
        durable.make_folders(store.parent, mode=dir_mode)
        if self.store.exists():
            self._move(self.store, store)
        self._move(self.pending, receipt, over=True)
        self.remove()

    def is_moving(self, key: str) -> bool:
        """True where the store at the place is the former one, with its receipt moved away."""
        entry = self.entry
        return (
            entry is not None
            and (entry / receipt_path(self.dest, key).name).exists()
            and not os.path.lexists(entry / store_path(self.dest, key).name)
        )

    def put_back(self, key: str) -> None:
        """Return a former store its receipt, where only that has moved."""
        entry = self.entry
        if entry is not None and self.is_moving(key):
            receipt = receipt_path(self.dest, key)
            self._move(entry / receipt.name, receipt)

    def remove(self) -> None:
        """Remove the slot, the receipt that commits it first; an empty run's folder with it."""
        with durable.writing(self.folder):
            self.pending.unlink(missing_ok=True)
            shutil.rmtree(self.folder)
            with contextlib.suppress(OSError):  # the run has other slots
                self.folder.parent.rmdir()

    def _move(self, here: Path, there: Path, *, over: bool = False) -> None:
        """Rename durably, unless it is done already; a folder or file is never replaced."""
        if not os.path.lexists(here):
            return
        if not over and os.path.lexists(there):
            raise RefusedError(
                there,
                f"is in the way of {here}",
                "Move it away; usid never replaces what it did not write for this source.",
            )
        with durable.writing(there):
            os.rename(here, there)  # noqa: PTH104 - the kill tests count os.rename
            if self.fsync:
                durable.fsync_folder(there.parent)
                if here.parent != self.folder:  # what stays of a slot after a power cut is scratch
                    durable.fsync_folder(here.parent)


def slots(dest: Path, *, fsync: bool = True) -> Iterator[Slot]:
    """Yield every slot of every run."""
    for run in _entries(dest / durable.CONTROL / "staging"):
        for folder in _entries(run):
            if folder.is_dir():
                yield Slot(dest, folder, fsync)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing where another run has just removed it."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
