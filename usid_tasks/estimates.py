"""What a conversion will take: time, and space, by measuring samples for a moment."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.copying import Item
from usid_tasks.digests import tile_digests, tile_shape
from usid_tasks.plans import ArrayPlan, Speeds
from usid_tasks.speeds import LEAST_S, free_bytes, writing
from usid_tasks.stores.zarr import PlannedStore, codec_of, samples_of

_BASELINE = "Pss:"


def estimated(planned: PlannedStore, place: Path) -> PlannedStore:
    """Return a plan with the measured speeds, the size that samples are encoded to, and free space.

    Parameters
    ----------
    planned
        The plan of a store.
    place
        The folder in which it is to be made.
    """
    items = [item for item in planned.items if item.subject is not None]
    arrays = list(planned.plan.arrays)
    speeds = None
    for at, (item, array) in enumerate(zip(items, arrays, strict=True)):
        if array.subject.is_position is None or not array.stages:
            continue
        ratio, measured = _measured(planned, item, array, place)
        stored = math.ceil(array.subject.size_bytes * ratio)
        arrays[at] = replace(array, subject=replace(array.subject, stored_bytes=stored))
        largest = max(a.subject.size_bytes for a in arrays)
        if speeds is None or array.subject.size_bytes == largest:
            speeds = measured
    plan = replace(
        planned.plan,
        arrays=tuple(arrays),
        speeds=speeds,
        free_bytes=free_bytes(place),
        baseline_bytes=baseline_bytes(),
    )
    return replace(planned, plan=plan)


def baseline_bytes() -> int | None:
    """Return the memory of this process as it is now, shared pages by share; None if unknown."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:  # no such kernel
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_BASELINE))


def _measured(
    planned: PlannedStore, item: Item, array: ArrayPlan, place: Path
) -> tuple[float, Speeds]:
    """Return the stored share of samples, and the speeds of one worker."""
    began = time.perf_counter()
    samples = samples_of(item, array)
    decode = time.perf_counter() - began
    codec, _ = codec_of(planned.options, samples)
    coder = codec.coder(samples[0].dtype.itemsize)
    n_bytes = sum(sample.nbytes for sample in samples)
    began = time.perf_counter()
    stored = sum(memoryview(coder.encode(sample)).nbytes for sample in samples)
    encode = time.perf_counter() - began
    began = time.perf_counter()
    for sample in samples:
        _place(sample)
    placing = time.perf_counter() - began
    decoded, encoded, placed = (
        max(n_bytes, 1) / max(spent, LEAST_S) for spent in (decode, encode, placing)
    )
    return stored / max(n_bytes, 1), Speeds(decoded, encoded, placed, writing(place))


def _place(sample: NDArray[Any]) -> None:
    np.copyto(np.empty_like(sample), sample)
    tile_digests(sample, tile_shape(sample.shape))
