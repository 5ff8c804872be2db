"""Plans of conversions and rechunkings: stages, tasks, bytes, memory, space and time.

Pure arithmetic on what is known of the arrays, before anything is done: no data is looked at.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blake3 import blake3

from usid_tasks.errors import RefusedError
from usid_tasks.intents import Intent, Touch, chunk_for, reads
from usid_tasks.model import JSON
from usid_tasks.passage import Passage
from usid_tasks.sizes import format_size
from usid_tasks.stages import MIB, UNENCODED, Edges, Encoder, Layout, Origin, Stage

TASKS_EACH = 4
"""Tasks for every worker, so that none waits long for another at the end."""


@dataclass(frozen=True)
class Subject:
    """What a plan has to know of an array, or of arrays that are read together.

    Parameters
    ----------
    path
        In the store; of several arrays, that of their node.
    shape, dtype, itemsize, dims
        Of the array; of several, of the dimensions that they share, and of a cell of all.
    is_position
        Which dimensions are Position dimensions; None for an array that keeps its chunks.
    source
        Chunks and shards; where it is no Zarr array, what comes nearest to a chunk, twice.
    stored_bytes
        Size of its files.
    encoder, n_parts, origin
        Those of :class:`~usid_tasks.stages.Stage`.
    tiles
        The tiles of its digest; those that follow from the shape by default.
    is_coded
        Whether the source has a codec; by default, where the array has one.
    told
        How the source is stored, for people, where it is no Zarr array.
    codec
        The codec that it is written in, for people; the source's by default.
    """

    path: str
    shape: Edges
    dtype: str
    itemsize: int
    dims: tuple[str, ...]
    is_position: tuple[bool, ...] | None
    source: Layout
    stored_bytes: int
    encoder: Encoder = UNENCODED
    n_parts: int = 1
    tiles: Edges | None = None
    origin: Origin | None = None
    is_coded: bool | None = None
    told: str = ""
    codec: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of its cells."""
        return math.prod(self.shape) * self.itemsize

    def passage(self, chunk: Edges) -> Passage:
        """Return the way to other chunks."""
        return Passage(
            self.shape, self.itemsize, self.source.chunk, chunk, self.encoder,
            n_parts=self.n_parts, is_decoding=self.is_coded, tiles=self.tiles, origin=self.origin,
        )  # fmt: skip

    def wanted_chunk(self, intent: Intent, chunk_bytes: int) -> Edges:
        """Return the chunk that serves an intent; that of the source for a small array."""
        if self.is_position is None or not self.shape or self.size_bytes <= chunk_bytes:
            named = set(self.dims) & {dim for dim, _ in intent.extents}
            if not named or not self.is_position or len(self.shape) < 2:
                return self.source.chunk
        assert self.is_position is not None
        return chunk_for(
            intent, self.shape, self.dims, self.is_position,
            itemsize=-(-self.itemsize // self.n_parts), chunk_bytes=chunk_bytes,
        )  # fmt: skip


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
            "source": of.told or {"chunk": list(of.source.chunk), "shard": list(of.source.shard)},
            "target": {"chunk": list(self.target.chunk), "shard": list(self.target.shard)},
            "stages": [stage.to_json() for stage in self.stages],
        }
        if not self.is_copied and of.is_position is not None:
            record["after"] = self.after.to_json()
            if not of.told:
                record["before"] = self.before.to_json()
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
class Plan:
    """What a conversion or a rechunking will do, for people by :meth:`lines`, and as JSON."""

    intent: Intent
    arrays: tuple[ArrayPlan, ...]
    workers: int
    allowed_bytes: int
    speeds: Speeds | None = None
    free_bytes: int | None = None
    held_bytes: int = 0
    baseline_bytes: int | None = None

    @property
    def worker_bytes(self) -> int:
        """Peak memory of one worker."""
        stages = [stage.memory_bytes for array in self.arrays for stage in array.stages]
        return max(stages, default=0)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of all workers and of what is held, beyond what a process needs to start."""
        return self.workers * self.worker_bytes + self.held_bytes

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
                written, is_encoding = stage.bytes_written, stage.encoder.is_compressed
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
            "worker_memory_bytes": self.worker_bytes,
            "held_memory_bytes": self.held_bytes,
            "allowed_memory_bytes": self.allowed_bytes,
            "baseline_memory_bytes": self.baseline_bytes,
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
        held = f" and {format_size(self.held_bytes)} for tables" if self.held_bytes else ""
        rows = {
            "copied": f"{len(copied)} arrays as they are, "
            f"{format_size(sum(subject.stored_bytes for subject in copied))}",
            "tasks": f"{self.n_tasks:,}",
            "read": format_size(self.bytes_read),
            "written": f"{format_size(self.bytes_written)}, and read back",
            "memory": f"{format_size(self.memory_bytes)} of {format_size(self.allowed_bytes)} "
            f"allowed ({self.workers} x {format_size(self.worker_bytes)}{held})"
            + (
                f", beside the {format_size(self.baseline_bytes)} that a process needs to start"
                if self.baseline_bytes
                else ""
            ),
            "space": format_size(self.space_bytes)
            + ("" if self.free_bytes is None else f" of {format_size(self.free_bytes)} free"),
        }
        if self.seconds is not None:
            rows["time"] = f"about {_duration(self.seconds)}"
        for name, told in rows.items():
            yield f"{name:<9} {told}"


def refuse_space(plan: Plan, place: object, *, there_bytes: int = 0) -> None:
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


def too_little_memory(
    least: Mapping[str, int], memory: int, workers: int, *, held_bytes: int = 0
) -> RefusedError:
    """Return the refusal for arrays of which a worker needs more than it may have, in bytes."""
    path = max(least, key=lambda path: least[path])
    fitting = [-(-(n * least[path] + held_bytes) // MIB) * MIB for n in (workers, 1)]
    alone = "" if workers == 1 else f", or --workers 1 with {format_size(fitting[1])}"
    return RefusedError(
        path,
        f"a block of it needs {format_size(least[path])} in each of {workers} workers, expected "
        f"{format_size(max(memory - held_bytes, 0) // workers)} at most",
        f"Give --memory {fitting[0] // MIB}MiB{alone}.",
    )


def _array_lines(array: ArrayPlan) -> Iterator[str]:
    of = array.subject
    sizes = ", ".join(f"{dim} {n}" for dim, n in zip(of.dims, of.shape, strict=True))
    yield f"{of.path}"
    rows = [("is", f"{of.dtype}, {sizes}; {format_size(of.size_bytes)}")]
    layouts = [("to", array.target)]
    if of.told:
        rows.append(("from", of.told))
    else:
        layouts.insert(0, ("from", of.source))
    for name, layout in layouts:
        told = _extent(layout.chunk, of.itemsize)
        shards = _extent(layout.shard, of.itemsize)
        codec = f", {of.codec}" if of.codec and name == "to" else ""
        rows.append((name, f"chunks {told}, shards {shards}{codec}"))
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
        if of.is_position is None:
            continue
        touched = _touch(getattr(array.after, name))
        if not of.told:
            touched = f"{_touch(getattr(array.before, name))} before, {touched} after"
        rows.append((name, touched))
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
