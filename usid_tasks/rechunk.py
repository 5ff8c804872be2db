"""One store to another in other chunks: planned, read back, proven by its digests, resumable."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from usid_tasks.errors import RefusedError, VerificationError
from usid_tasks.intents import parse_intent
from usid_tasks.journal import JOURNAL, Journal
from usid_tasks.model import JSON
from usid_tasks.places import receipt_path
from usid_tasks.plans import Plan, refuse_space
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.proof import versions
from usid_tasks.publish import Destination
from usid_tasks.receipts import Receipt, read_receipt, utc_now
from usid_tasks.rechunk_plan import plan_rechunk
from usid_tasks.rechunk_source import SourceStore, key_of, open_store
from usid_tasks.rechunk_staged import StagedStore
from usid_tasks.settings import Settings, load_settings
from usid_tasks.sizes import format_size, parse_size
from usid_tasks.speeds import free_bytes, measure
from usid_tasks.staged import Making
from usid_tasks.stages import MIB, Stage
from usid_tasks.staging import slots
from usid_tasks.stores.zarr import metadata_digest
from usid_tasks.workers import Counted, Engine, Threads

DEFAULT_MEMORY = 1024 * MIB
"""Bytes that all workers together may hold, if nothing else is said."""

_RUN = "rechunk-"


@dataclass(frozen=True, kw_only=True)
class RechunkResult:
    """What was made; ``counted`` tells what this run did of the plan."""

    store: Path
    receipt: Path
    arrays: tuple[str, ...]
    plan: Plan
    counted: Counted

    def to_json(self) -> dict[str, JSON]:
        """Return what was made as JSON."""
        return {
            "store": str(self.store),
            "receipt": str(self.receipt),
            "arrays": list(self.arrays),
            "tasks_done": self.counted.n_tasks,
            "tasks_kept": self.counted.n_kept,
            "bytes_read": self.counted.bytes_read,
            "bytes_written": self.counted.bytes_written,
            "plan": self.plan.to_json(),
        }

    def rows(self) -> list[dict[str, JSON]]:
        """Return a row for every array: what became of its chunks."""
        return [
            {
                "array": array.subject.path,
                "size": format_size(array.subject.size_bytes),
                "from": " x ".join(map(str, array.subject.source.chunk)),
                "to": " x ".join(map(str, array.target.chunk)),
                "stages": 0 if array.is_copied else len(array.stages),
            }
            for array in self.plan.arrays
        ]


def plan_store(
    store: Path | str,
    dest: Path | str,
    *,
    intent: str = "balanced",
    memory: int | str = DEFAULT_MEMORY,
    workers: int | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Return how a store would be rechunked, with the free space and a time estimate.

    Nothing is made. Parameters and errors are those of :func:`rechunk_store`.
    """
    place = _absolute(dest)
    key = key_of(place)
    source = open_store(_absolute(store))
    plan = _plan(source, place, intent, memory, workers, settings or load_settings())
    planned = [array.subject for array in plan.arrays if not array.is_copied]
    if planned:
        largest = max(planned, key=lambda subject: subject.size_bytes)
        plan = replace(plan, speeds=measure(source.array(largest.path), place.parent))
    slot = Destination(place.parent).unfinished(key, _run_id(source, plan))
    refuse_space(plan, place.parent, there_bytes=_size(slot.folder) if slot else 0)
    return plan


def rechunk_store(
    store: Path | str,
    dest: Path | str,
    *,
    intent: str = "balanced",
    memory: int | str = DEFAULT_MEMORY,
    workers: int | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> RechunkResult:
    """Make a store of the same values in other chunks, and give it a receipt.

    Run again after a kill, with the same source and the same plan, it takes up what is done.

    Parameters
    ----------
    store, dest
        A store with its receipt, and the store to make: a name that ends in ``.zarr``.
    intent
        ``spectra``, ``images``, ``balanced``, or extents of chunks: ``"Y=16,X=16,Bias=-1"``.
    memory
        Bytes that all workers together may hold, beyond what the process needs to start; a
        number or a size such as ``"1 GiB"``.
    workers
        Threads; ``convert.threads`` by default.
    overwrite
        Whether a store of ours at ``dest`` gives way, to ``.usid/superseded`` beside it.
    settings
        The merged configuration; that of the environment by default.
    progress
        Told of every block.
    engine
        What does the tasks; threads by default.

    Raises
    ------
    RefusedError
        If the source has no receipt, the memory or the space does not suffice (what does is
        told), ``dest`` is there and ``overwrite`` is not asked for, or the intent is none.
        Nothing is written then.
    VerificationError
        If the source lacks a shard, what was written does not read back, or the values made
        have another digest than the source's receipt says.
    UsidError
        If the disk fails; what is finished stays for the next run.
    """
    settings = settings or load_settings()
    progress = progress or NullProgress()
    place = _absolute(dest)
    key = key_of(place)
    source = open_store(_absolute(store))
    plan = _plan(source, place, intent, memory, workers, settings)
    run_id = _run_id(source, plan)
    place.parent.mkdir(parents=True, exist_ok=True)
    destination = Destination(
        place.parent,
        file_mode=settings.convert.file_mode,
        dir_mode=settings.convert.dir_mode,
        renew_s=settings.claims.renew_s,
        dead_after_s=settings.claims.dead_after_s,
    )
    if _is_mended(destination, key, run_id):
        return _result(place, key, plan, Counted())
    _refuse_place(place, key, overwrite=overwrite)
    started = utc_now()
    with destination.claim(key, run_id=run_id) as claim:
        slot = destination.unfinished(key, run_id)
        refuse_space(plan, place.parent, there_bytes=_size(slot.folder) if slot else 0)
        staged = destination.staging(claim, work=run_id)
        stages = [stage for array in plan.arrays for stage in array.stages]
        size = sum(_cells_bytes(stage) for stage in stages)
        progress.begin("rechunking", size_bytes=size)
        making = Making(
            Journal(staged.parent / JOURNAL),
            engine or Threads(),
            plan.workers,
            check=claim.check,
            advance=lambda n: progress.advance(size_bytes=n),
        )
        work = StagedStore(source, plan, staged, making)
        try:
            counted = work.make(n_cells=settings.convert.verify_cells)
        except VerificationError:
            destination.discard(staged)
            raise
        receipt = _receipt(source, plan, key, staged, started=started)
        destination.publish(staged, receipt, claim)
    return _result(place, key, plan, counted)


def _plan(
    source: SourceStore,
    place: Path,
    intent: str,
    memory: int | str,
    workers: int | None,
    settings: Settings,
) -> Plan:
    try:
        allowed = parse_size(memory)
    except ValueError as error:
        raise RefusedError("memory", f"{memory!r}, expected {error}", "Give 1GiB.") from error
    if workers is not None and workers < 1:
        raise RefusedError("workers", f"{workers}, expected 1 or more", "Give 1.")
    plan = plan_rechunk(
        source.subjects(),
        parse_intent(intent),
        memory_bytes=allowed,
        workers=workers or settings.convert.threads,
        chunk_bytes=settings.convert.chunk,
        shard_bytes=settings.convert.shard_max,
    )
    return replace(plan, free_bytes=free_bytes(place.parent))


def _run_id(source: SourceStore, plan: Plan) -> str:
    """Return the name of a run: the same for the same source and the same tasks."""
    told = blake3(f"{source.metadata_digest}\n{plan.identity}\n".encode())
    for path, record in sorted(source.receipt.arrays.items()):
        told.update(f"{path}\n{record.digest}\n".encode("utf-8", "surrogatepass"))
    return _RUN + told.hexdigest()[:24]


def _is_mended(destination: Destination, key: str, run_id: str) -> bool:
    """Return whether a run of this very work was killed while publishing, and is mended now."""
    for slot in slots(destination.dest):
        if (slot.key, slot.work) == (key, run_id) and slot.pending.exists():
            destination.mend(run_id=run_id)
            receipt = read_receipt(receipt_path(destination.dest, key))
            return receipt is not None and receipt.extra.get("rechunk_run") == run_id
    return False


def _refuse_place(place: Path, key: str, *, overwrite: bool) -> None:
    if not os.path.lexists(place):
        return
    if not overwrite:
        raise RefusedError(place, "is there already", "Name another store, or add --overwrite.")
    if not receipt_path(place.parent, key).exists():
        raise RefusedError(
            place,
            "is there without a receipt: usid did not write it, and never touches it",
            "Move it away, or choose another DEST.",
        )


def _receipt(source: SourceStore, plan: Plan, key: str, staged: Path, *, started: str) -> Receipt:
    """Return the source's receipt, restated for the store that was made from it."""
    former = source.receipt
    return replace(
        former,
        source=replace(former.source, root_name="", path=key),
        started=started,
        finished=utc_now(),
        versions=versions(),
        machine=platform.node(),
        extra={
            **former.extra,
            "metadata_digest": metadata_digest(staged),
            "rechunk_run": _run_id(source, plan),
            "rechunked_from": {
                "store": str(source.folder),
                "metadata_digest": source.metadata_digest,
                "source_digest": former.source.digest,
                "arrays": {path: record.digest for path, record in former.arrays.items()},
                "intent": str(plan.intent),
                "plan": plan.to_json(),
            },
        },
    )


def _result(place: Path, key: str, plan: Plan, counted: Counted) -> RechunkResult:
    return RechunkResult(
        store=place,
        receipt=receipt_path(place.parent, key),
        arrays=tuple(array.subject.path for array in plan.arrays),
        plan=plan,
        counted=counted,
    )


def _cells_bytes(stage: Stage) -> int:
    size = stage.itemsize
    for n in stage.shape:
        size *= n
    return size


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps links as given


def _size(folder: Path) -> int:
    files: Iterable[Any] = folder.rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())
