"""How the arrays of a file become those of a store: pure arithmetic, before anything is done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from usid_tasks.intents import Intent
from usid_tasks.plans import TASKS_EACH, ArrayPlan, Plan, Subject, too_little_memory
from usid_tasks.stages import Edges, Layout


def plan_convert(
    subjects: Sequence[Subject],
    intent: Intent,
    *,
    memory_bytes: int,
    workers: int,
    chunk_bytes: int,
    shard_bytes: int,
    held_bytes: int = 0,
) -> Plan:
    """Return how to write arrays in the chunks of an intent.

    Parameters
    ----------
    subjects
        Every array of numbers. Those with ``is_position`` that are larger than a chunk get the
        chunks of the intent, larger ones without are cut along their slowest dimensions.
    intent
        What the store is for. A dimension that it names need not be in every file.
    memory_bytes, workers
        What all workers together may hold, beyond what the process needs to start.
    chunk_bytes, shard_bytes
        Wanted size of a chunk, and most of a shard, decoded.
    held_bytes
        What is held in memory all the while: tables, coordinates, placements.

    Raises
    ------
    RefusedError
        If it does not fit; the memory that does is told.
    """
    per_worker = max(memory_bytes - held_bytes, 0) // workers
    arrays = []
    least: dict[str, int] = {}
    for subject in subjects:
        chunk = _chunk(subject, intent, chunk_bytes)
        if math.prod(subject.shape) == 0 or not subject.itemsize:
            arrays.append(ArrayPlan(subject, Layout(chunk, chunk), ()))
            continue
        passage = subject.passage(chunk)
        if passage.least_bytes() > per_worker:
            least[subject.path] = passage.least_bytes()
            continue
        stages = passage.stages(
            worker_bytes=per_worker, shard_bytes=shard_bytes, least_tasks=TASKS_EACH * workers
        )
        target = next(stage.target for stage in reversed(stages) if stage.target)
        arrays.append(ArrayPlan(subject, target, stages))
    if least:
        raise too_little_memory(least, memory_bytes, workers, held_bytes=held_bytes)
    return Plan(intent, tuple(arrays), workers, memory_bytes, held_bytes=held_bytes)


def _chunk(subject: Subject, intent: Intent, chunk_bytes: int) -> Edges:
    """Return the chunk of an array: all of a small one, that of the intent, or whole rows."""
    named = {dim for dim, _ in intent.extents} & set(subject.dims)
    if subject.is_position is not None and (named or subject.size_bytes > chunk_bytes):
        return subject.wanted_chunk(intent, chunk_bytes)
    chunk = [max(n, 1) for n in subject.shape]
    for dim in range(len(chunk)):
        others = math.prod(chunk[dim + 1 :]) * subject.itemsize
        if chunk[dim] * others <= chunk_bytes:
            break
        chunk[dim] = max(1, chunk_bytes // max(others, 1))
    return tuple(chunk)
