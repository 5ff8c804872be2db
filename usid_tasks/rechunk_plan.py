"""The plan of a rechunking: stages, tasks, bytes, memory, space and time, before anything is done.

Pure arithmetic on what is known of the arrays: no data is looked at.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from usid_tasks.errors import RefusedError
from usid_tasks.intents import Intent, Touch, chunk_for, reads
from usid_tasks.model import JSON
from usid_tasks.rechunk_passage import Passage, digest_stage
from usid_tasks.rechunk_stages import MIB, Edges, Layout, Stage
from usid_tasks.sizes import format_size


@dataclass(frozen=True)
class Subject:
    """What a plan has to know of an array of the source store.

    ``is_position`` tells Position from other dimensions; None for an array that is copied in any
    case. ``stored_bytes`` is the size of its files, ``encode_copies`` that of
    :class:`~usid_tasks.rechunk_stages.Stage`.
    """

    path: str
    shape: Edges
    dtype: str
    itemsize: int
    dims: tuple[str, ...]
    is_position: tuple[bool, ...] | None
    source: Layout
    stored_bytes: int
    encode_copies: int = 3

    @property
    def size_bytes(self) -> int:
        """Bytes of its cells."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class Reads:
    """What a point spectrum and an image touch."""

    spectrum: Touch
    image: Touch

    def to_json(self) -> dict[str, JSON]:
        """Return the counts as JSON."""
        return {
            name: {"chunks": touch.chunks, "bytes": touch.size_bytes}
            for name, touch in (("spectrum", self.spectrum), ("image", self.image))
        }


@dataclass(frozen=True)
class ArrayPlan:
    """What happens to one array: its stages; one that keeps its chunks is copied and hashed."""

    subject: Subject
    target: Layout
    stages: tuple[Stage, ...]
    is_copied: bool = False

    @property
    def last(self) -> int:
        """Number of the stage that writes the store; the ones before write what lies between."""
        return max((at for at, stage in enumerate(self.stages) if stage.target), default=0)

    @property
    def intermediate_bytes(self) -> int:
        """Space of the intermediate arrays that are there at the same time, at most."""
        between = [stage.bytes_written for stage in self.stages[: self.last]]
        pairs = itertools.pairwise(between)
        return max([*between[:1], *(a + b for a, b in pairs)], default=0)

    @property
    def before(self) -> Reads:
        """What is touched in the source."""
        return self._reads(self.subject.source.chunk)

    @property
    def after(self) -> Reads:
        """What is touched in the store that is made."""
        return self._reads(self.target.chunk)

    def _reads(self, chunk: Edges) -> Reads:
        of = self.subject
        is_position = of.is_position or (False,) * len(of.shape)
        return Reads(*reads(of.shape, chunk, is_position, itemsize=of.itemsize))

    def to_json(self) -> dict[str, JSON]:
        """Return the plan of the array as JSON."""
        of = self.subject
        record: dict[str, JSON] = {
            "path": of.path,
            "shape": list(of.shape),
            "dtype": of.dtype,
            "dims": list(of.dims),
            "bytes": of.size_bytes,
            "is_copied": self.is_copied,
            "source": {"chunk": list(of.source.chunk), "shard": list(of.source.shard)},
            "target": {"chunk": list(self.target.chunk), "shard": list(self.target.shard)},
            "stages": [stage.to_json() for stage in self.stages],
        }
        if not self.is_copied:
            record["before"], record["after"] = self.before.to_json(), self.after.to_json()
        return record


@dataclass(frozen=True)
class Speeds:
    """What one worker was measured to do, in bytes of decoded cells a second.

    ``write`` is the disk's, of stored bytes, flushing included.
    """

    decode: float
    encode: float
    place: float
    write: float


@dataclass(frozen=True)
class RechunkPlan:
    """What a rechunking will do; prints by :meth:`lines`, is saved by :meth:`to_json`."""

    intent: Intent
    arrays: tuple[ArrayPlan, ...]
    workers: int
    allowed_bytes: int
    speeds: Speeds | None = None
    free_bytes: int | None = None

    @property
    def memory_bytes(self) -> int:
        """Peak memory of all workers, beyond what the process needs to start."""
        stages = [stage.memory_bytes for array in self.arrays for stage in array.stages]
        return self.workers * max(stages, default=0)

    @property
    def n_tasks(self) -> int:
        """Tasks of all stages."""
        return sum(stage.n_tasks for array in self.arrays for stage in array.stages)

    @property
    def bytes_read(self) -> int:
        """Decoded bytes of all chunks read, without those that are read back."""
        return sum(stage.bytes_read for array in self.arrays for stage in array.stages)

    @property
    def bytes_written(self) -> int:
        """Bytes of all chunks written, before they are encoded; as many are read back."""
        return sum(stage.bytes_written for array in self.arrays for stage in array.stages)

    @property
    def space_bytes(self) -> int:
        """Space on the destination: the source's stored size and a tenth, and what lies between."""
        stored = sum(array.subject.stored_bytes for array in self.arrays)
        between = max((array.intermediate_bytes for array in self.arrays), default=0)
        return stored + stored // 10 + between

    @property
    def identity(self) -> str:
        """32 hexadecimal digits, the same for plans whose tasks are the same."""
        arrays = [
            [
                a.subject.path,
                [[s.block, s.target and s.target.chunk] for s in a.stages],
                a.target.shard,
            ]
            for a in self.arrays
        ]
        return blake3(json.dumps(arrays, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def seconds(self) -> float | None:
        """Time that it will take, if speeds were measured."""
        if self.speeds is None:
            return None
        of = self.speeds
        work = disk = 0.0
        for array in self.arrays:
            ratio = array.subject.stored_bytes / max(array.subject.size_bytes, 1)
            for stage in array.stages:
                written, is_encoding = stage.bytes_written, stage.encode_copies > 0
                decoded = stage.bytes_read * stage.is_decoding + written * is_encoding
                work += decoded / of.decode + written * is_encoding / of.encode
                work += (stage.bytes_read + 2 * written) / of.place
                disk += written * (ratio if is_encoding else 1.0) / of.write
        return work / self.workers + disk

    def to_json(self) -> dict[str, JSON]:
        """Return the plan as JSON."""
        return {
            "intent": str(self.intent),
            "identity": self.identity,
            "workers": self.workers,
            "tasks": self.n_tasks,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "bytes_read_back": self.bytes_written,
            "memory_bytes": self.memory_bytes,
            "allowed_memory_bytes": self.allowed_bytes,
            "space_bytes": self.space_bytes,
            "free_bytes": self.free_bytes,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "arrays": [array.to_json() for array in self.arrays],
        }

    def lines(self) -> Iterator[str]:
        """Yield the plan as aligned text."""
        for array in self.arrays:
            if not array.is_copied:
                yield from _array_lines(array)
        copied = [array.subject for array in self.arrays if array.is_copied]
        rows = {
            "copied": f"{len(copied)} arrays as they are, "
            f"{format_size(sum(subject.stored_bytes for subject in copied))}",
            "tasks": f"{self.n_tasks:,}",
            "read": format_size(self.bytes_read),
            "written": f"{format_size(self.bytes_written)}, and read back",
            "memory": f"{format_size(self.memory_bytes)} of {format_size(self.allowed_bytes)} "
            f"allowed ({self.workers} x {format_size(self.memory_bytes // self.workers)})",
            "space": format_size(self.space_bytes)
            + ("" if self.free_bytes is None else f" of {format_size(self.free_bytes)} free"),
        }
        if self.seconds is not None:
            rows["time"] = f"about {_duration(self.seconds)}"
        for name, told in rows.items():
            yield f"{name:<9} {told}"


def plan_rechunk(
    subjects: Sequence[Subject],
    intent: Intent,
    *,
    memory_bytes: int,
    workers: int,
    chunk_bytes: int,
    shard_bytes: int,
) -> RechunkPlan:
    """Return how to give arrays the chunks of an intent.

    Parameters
    ----------
    subjects
        Every array of the store. Those with ``is_position`` that are larger than a chunk are
        rechunked, the others are copied.
    intent
        What the store is for.
    memory_bytes, workers
        What all workers together may hold, beyond what the process needs to start.
    chunk_bytes, shard_bytes
        Wanted size of a chunk, and most of a shard, decoded.

    Raises
    ------
    RefusedError
        If it does not fit; the memory that does is told. If the intent names a dimension that
        no array has.
    """
    known = {dim for subject in subjects if subject.is_position for dim in subject.dims}
    for dim in intent.unknown(sorted(known)):
        raise RefusedError(
            "intent", f"no array has a dimension {dim!r}; there are {', '.join(sorted(known))}",
            "Name one of these.",
        )  # fmt: skip
    per_worker = memory_bytes // workers
    arrays = []
    least: dict[str, int] = {}
    for subject in subjects:
        chunk = _wanted_chunk(subject, intent, chunk_bytes)
        passage = Passage(
            subject.shape, subject.itemsize, subject.source.chunk, chunk, subject.encode_copies
        )
        is_empty = math.prod(subject.shape) == 0 or not subject.itemsize
        is_copied = chunk == subject.source.chunk or is_empty
        if not is_empty and passage.least_bytes() > per_worker:
            least[subject.path] = passage.least_bytes()
        elif is_copied:
            alone = () if is_empty else (_digest(subject, per_worker),)
            arrays.append(ArrayPlan(subject, subject.source, alone, is_copied=True))
        else:
            stages = passage.stages(worker_bytes=per_worker, shard_bytes=shard_bytes)
            target = next(stage.target for stage in reversed(stages) if stage.target)
            arrays.append(ArrayPlan(subject, target, stages))
    if least:
        raise _too_little_memory(least, memory_bytes, workers)
    return RechunkPlan(intent, tuple(arrays), workers, memory_bytes)


def refuse_space(plan: RechunkPlan, place: object, *, there_bytes: int = 0) -> None:
    """Raise RefusedError if the destination has too little space, beside what is there already."""
    if plan.free_bytes is not None and plan.space_bytes > plan.free_bytes + there_bytes:
        raise RefusedError(
            place,
            f"has {format_size(plan.free_bytes)} free, expected "
            f"{format_size(plan.space_bytes - there_bytes)} at least",
            "Free space there, choose another DEST"
            + (
                ", or allow more --memory, which may do without an intermediate store."
                if any(array.intermediate_bytes for array in plan.arrays)
                else "."
            ),
        )


def _too_little_memory(least: Mapping[str, int], memory: int, workers: int) -> RefusedError:
    path = max(least, key=lambda path: least[path])
    fitting = [-(-(n * least[path]) // MIB) * MIB for n in (workers, 1)]
    alone = "" if workers == 1 else f", or --workers 1 with {format_size(fitting[1])}"
    return RefusedError(
        path,
        f"a block of it needs {format_size(least[path])} in each of {workers} workers, expected "
        f"{format_size(memory // workers)} at most",
        f"Give --memory {fitting[0] // MIB}MiB{alone}.",
    )


def _wanted_chunk(subject: Subject, intent: Intent, chunk_bytes: int) -> Edges:
    if subject.is_position is None or not subject.shape or subject.size_bytes <= chunk_bytes:
        named = set(subject.dims) & {dim for dim, _ in intent.extents}
        if not named or not subject.is_position or len(subject.shape) < 2:
            return subject.source.chunk
    assert subject.is_position is not None
    return chunk_for(
        intent, subject.shape, subject.dims, subject.is_position,
        itemsize=subject.itemsize, chunk_bytes=chunk_bytes,
    )  # fmt: skip


def _digest(subject: Subject, worker_bytes: int) -> Stage:
    return digest_stage(
        subject.shape, subject.itemsize, subject.source.chunk,
        is_decoding=bool(subject.encode_copies), worker_bytes=worker_bytes,
    )  # fmt: skip


def _array_lines(array: ArrayPlan) -> Iterator[str]:
    of = array.subject
    sizes = ", ".join(f"{dim} {n}" for dim, n in zip(of.dims, of.shape, strict=True))
    yield f"{of.path}"
    rows = [("is", f"{of.dtype}, {sizes}; {format_size(of.size_bytes)}")]
    for name, layout in (("from", of.source), ("to", array.target)):
        told = _extent(layout.chunk, of.itemsize)
        shards = _extent(layout.shard, of.itemsize)
        rows.append((name, f"chunks {told}, shards {shards}"))
    for number, stage in enumerate(array.stages, start=1):
        block = f"{stage.n_tasks:,} blocks {_extent(_cut(stage), of.itemsize)}"
        read = f"read {format_size(stage.bytes_read)} in {stage.chunks_read:,} chunks"
        if stage.repeats > 1:
            read += f" (each {stage.repeats:.1f} times)"
        write = "hash"
        if stage.target:
            write = f"write {format_size(stage.bytes_written)} in {stage.chunks_written:,} chunks"
        rows.append((f"stage {number}", f"{block}: {read}, {write}"))
    for name in ("spectrum", "image"):
        was, will = getattr(array.before, name), getattr(array.after, name)
        rows.append((name, f"{_touch(was)} before, {_touch(will)} after"))
    for name, line in rows:
        yield f"  {name:<9} {line}"


def _cut(stage: Stage) -> Edges:
    return tuple(min(b, n) for b, n in zip(stage.block, stage.shape, strict=True))


def _extent(edges: Edges, itemsize: int) -> str:
    return f"{' x '.join(map(str, edges))} ({format_size(math.prod(edges) * itemsize)})"


def _touch(touch: Touch) -> str:
    noun = "chunk" if touch.chunks == 1 else "chunks"
    return f"{touch.chunks:,} {noun} of {format_size(touch.size_bytes // touch.chunks)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
