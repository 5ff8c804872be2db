"""A results group in the making: a file of its own, and which of its positions are done.

The folder ``.usid/process/<key>`` beside the results file holds it: ``results.h5``, whose HDF5
structure is whole from the beginning and never touched again, so that it is readable at any
moment; and for tools in passes what they know so far.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks.durable import CONTROL, fsync_folder, make_folders, write_file, writing
from usid_tasks.errors import UsidError
from usid_tasks.tools import State

_NOTE = "run.json"
_STATE = "state.json"


@dataclass(frozen=True)
class Origin:
    """What a partial file is of: a path, an HDF5 path, and the fingerprint of what is there."""

    source: str
    dataset: str
    fingerprint: str


@dataclass(frozen=True)
class Workplace:
    """The folder of one run; what a killed one left there is taken up by the next."""

    folder: Path

    @classmethod
    def of(cls, target: Path, key: str) -> Workplace:
        """Return the folder for a results file and a key; equal sources may lie side by side."""
        name = blake3(f"{target.name}/{key}".encode("utf-8", "surrogateescape")).hexdigest(20)
        return cls(target.parent / CONTROL / "process" / name)

    @property
    def claim_key(self) -> str:
        """By what the work is claimed."""
        return f"process/{self.folder.name}"

    @property
    def file(self) -> Path:
        """The partial results."""
        return self.folder / "results.h5"

    def begin(self, make: Callable[[Path], None], origin: Origin) -> None:
        """Make the partial file, unless it is there whole; ``origin`` is what it is of.

        Raises
        ------
        UsidError
            If it cannot be written.
        """
        make_folders(self.folder)
        if self.file.exists():
            return
        write_file(self.folder / _NOTE, json.dumps(asdict(origin)).encode())
        made = self.folder / "new.h5"
        make(made)
        with writing(made):
            _sync(made)
            os.rename(made, self.file)  # noqa: PTH104 - as everywhere in this project
            fsync_folder(self.folder)

    def stale(self, origin: Origin) -> list[Workplace]:
        """Return the places beside it that are of the same Main dataset as it was once."""
        found = []
        for file in self.folder.parent.glob(f"*/{_NOTE}"):
            try:
                told = Origin(**json.loads(file.read_bytes()))
            except (FileNotFoundError, TypeError, ValueError):
                continue
            is_same = (told.source, told.dataset) == (origin.source, origin.dataset)
            if is_same and told.fingerprint != origin.fingerprint:
                found.append(Workplace(file.parent))
        return found

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Completed:
    """The bytes of ``completed_positions`` in a partial file, written past HDF5."""

    def __init__(self, file: Path, offset: int, n_positions: int) -> None:
        self._file, self._offset = file, offset
        with file.open("rb") as stream:
            stream.seek(offset)
            found = np.frombuffer(stream.read(n_positions), np.uint8)
        if len(found) < n_positions:
            raise UsidError(file, "ends before its values do", "Remove it, then run again.")
        self.is_done: NDArray[np.bool_] = found == 1

    @property
    def n_done(self) -> int:
        """How many positions are done."""
        return int(self.is_done.sum())

    def mark(self, first: int, last: int) -> None:
        """Tell that rows are done; their results are durable already."""
        self.is_done[first:last] = True
        with writing(self._file):
            fd = os.open(self._file, os.O_WRONLY)
            try:
                os.pwrite(fd, b"\1" * (last - first), self._offset + first)
            finally:
                os.close(fd)

    def left(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield runs of rows that are not done, each of ``size`` rows at most."""
        edges = np.flatnonzero(np.diff(self.is_done, prepend=True, append=True))
        for start, stop in edges.reshape(-1, 2).tolist():
            for first in range(start, stop, size):
                yield first, min(first + size, stop)


@dataclass(frozen=True)
class Saved:
    """Where a tool in passes stands: passes made, and the state after them.

    ``n_blocks`` of the next one were made, with what came of them ``combined``.
    """

    n_stages: int
    state: State
    n_blocks: int = 0
    combined: State | None = None


class States:
    """The states of a tool in passes, saved durably: each whole, or the one before.

    ``plan`` tells what they depend on besides the key of the folder: the size of blocks.
    """

    def __init__(self, folder: Path, plan: str) -> None:
        self._folder, self._plan = folder, plan

    def save(self, saved: Saved) -> None:
        """Replace what was saved before."""
        files = {"state": saved.state}
        if saved.combined is not None:
            files["combined"] = saved.combined
        digests = {name: self._write(state) for name, state in files.items()}
        told = {
            "plan": self._plan,
            "n_stages": saved.n_stages,
            "n_blocks": saved.n_blocks,
            "digests": digests,
        }
        write_file(self._folder / _STATE, json.dumps(told).encode())
        for file in self._folder.glob("*.npz"):
            if file.stem not in digests.values():
                file.unlink()

    def load(self) -> Saved | None:
        """Return what was saved; None where there is nothing, or nothing whole of this plan."""
        try:
            told = json.loads((self._folder / _STATE).read_bytes())
            if told["plan"] != self._plan:
                return None
            found = {name: self._read(digest) for name, digest in told["digests"].items()}
            n_stages, n_blocks = int(told["n_stages"]), int(told["n_blocks"])
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return None
        if any(state is None for state in found.values()) or found.get("state") is None:
            return None
        state = found["state"]
        assert state is not None
        return Saved(n_stages, state, n_blocks, found.get("combined"))

    def _write(self, state: State) -> str:
        stream = BytesIO()
        np.savez(stream, **state)  # type: ignore[arg-type]
        data = stream.getvalue()
        digest = blake3(data).hexdigest()
        if not (self._folder / f"{digest}.npz").exists():
            write_file(self._folder / f"{digest}.npz", data)
        return digest

    def _read(self, digest: str) -> State | None:
        data = (self._folder / f"{digest}.npz").read_bytes()
        if blake3(data).hexdigest() != digest:
            return None
        with np.load(BytesIO(data), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
