"""How arrays of a store get other chunks: pure arithmetic, before anything is done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from usid_tasks.errors import RefusedError
from usid_tasks.intents import Intent
from usid_tasks.passage import digest_stage
from usid_tasks.plans import TASKS_EACH, ArrayPlan, Plan, Subject, too_little_memory
from usid_tasks.stages import Stage


def plan_rechunk(
    subjects: Sequence[Subject],
    intent: Intent,
    *,
    memory_bytes: int,
    workers: int,
    chunk_bytes: int,
    shard_bytes: int,
) -> Plan:
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
        chunk = subject.wanted_chunk(intent, chunk_bytes)
        passage = subject.passage(chunk)
        is_empty = math.prod(subject.shape) == 0 or not subject.itemsize
        is_copied = chunk == subject.source.chunk or is_empty
        if not is_empty and passage.least_bytes() > per_worker:
            least[subject.path] = passage.least_bytes()
        elif is_copied:
            alone = () if is_empty else (_digest(subject, per_worker),)
            arrays.append(ArrayPlan(subject, subject.source, alone, is_copied=True))
        else:
            stages = passage.stages(
                worker_bytes=per_worker, shard_bytes=shard_bytes, least_tasks=TASKS_EACH * workers
            )
            target = next(stage.target for stage in reversed(stages) if stage.target)
            arrays.append(ArrayPlan(subject, target, stages))
    if least:
        raise too_little_memory(least, memory_bytes, workers)
    return Plan(intent, tuple(arrays), workers, memory_bytes)


def _digest(subject: Subject, worker_bytes: int) -> Stage:
    return digest_stage(
        subject.shape, subject.itemsize, subject.source.chunk,
        is_decoding=subject.encoder.is_compressed, worker_bytes=worker_bytes,
    )  # fmt: skip
