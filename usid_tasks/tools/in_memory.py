"""A tool over an array in memory: for notebooks and tests, and what any runner must equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.tools.declaration import (
    ByPosition,
    Job,
    Note,
    Parameters,
    Rows,
    Staged,
    State,
    Tool,
)
from usid_tasks.tools.dims import Dim, MainHeader
from usid_tasks.tools.rows import from_rows, to_rows


@dataclass(frozen=True)
class Results:
    """What a tool made: ``arrays`` by name of the output, in the shape of its dims, and notes."""

    job: Job
    arrays: dict[str, NDArray]
    notes: dict[str, Note]

    def __getitem__(self, name: str) -> NDArray:
        return self.arrays[name]


def header_of(
    array: NDArray, dims: Sequence[Dim], *, quantity: str = "", units: str = ""
) -> MainHeader:
    """Return the header of an array whose axes are dims, those of positions first."""
    if array.shape != tuple(dim.size for dim in dims):
        raise ValueError(f"an array of {array.shape} has not the sizes of its dimensions")
    n_positions = int(np.prod([dim.size for dim in dims if dim.side == "position"], dtype=np.int64))
    return MainHeader(tuple(dims), n_positions, array.dtype, quantity, units)


def compute(
    tool: Tool,
    array: NDArray,
    header: MainHeader,
    params: Parameters | dict[str, Any],
    *,
    block_positions: int | None = None,
) -> Results:
    """Return what a tool makes of an array.

    Parameters
    ----------
    array
        In the shape of ``header.dims``: the Position dimensions first, slow to fast.
    block_positions
        How many positions are worked on at once; all where it is None.

    Raises
    ------
    RefusedError
        If the tool refuses the header or the parameters.
    """
    job = tool.prepare(header, params)
    places = tuple(dim.size for dim in header.side("position"))
    steps = tuple(dim.size for dim in header.side("spectroscopic"))
    matrix = array.reshape(header.n_positions, *steps)
    size = block_positions or max(1, header.n_positions)
    starts = range(0, max(1, header.n_positions), size)

    def blocks() -> Iterator[tuple[NDArray, Rows]]:
        for start in starts:
            block = matrix[start : start + size]
            flat = np.arange(start, start + len(block))
            indices = np.stack(np.unravel_index(flat, places or (1,)), axis=-1)
            yield block, Rows(start, indices[:, : len(places)])

    if isinstance(job.work, ByPosition):
        return Results(job, _by_position(job, job.work, header, [b for b, _ in blocks()]), {})
    state = run_stages(job.work, blocks)
    arrays = job.work.results(state)
    if job.work.block_results is not None:
        parts = [job.work.block_results(block, rows, state) for block, rows in blocks()]
        arrays |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    shaped = {
        output.name: arrays[output.name].astype(output.dtype, copy=False).reshape(output.sizes)
        for output in job.outputs
    }
    return Results(job, shaped, job.work.notes(state))


def run_stages(work: Staged, blocks: Callable[[], Iterator[tuple[NDArray, Rows]]]) -> State:
    """Return the last state of all passes, made one after the other in the order of blocks."""
    state = work.begin()
    while (stage := work.next_stage(state)) is not None:
        combined: State | None = None
        for block, rows in blocks():
            part = stage.partial(block, rows, state)
            combined = part if combined is None else stage.combine(combined, part)
        if combined is None:
            raise ValueError("no block: without positions there is one of none")
        state = stage.finish(state, combined)
    return state


def _by_position(
    job: Job, work: ByPosition, header: MainHeader, blocks: Sequence[NDArray]
) -> dict[str, NDArray]:
    parts: dict[str, list[NDArray]] = {output.name: [] for output in job.outputs}
    for block in blocks:
        made = work.function(to_rows(block, header, job.core))
        for output, result in zip(job.outputs, made, strict=True):
            placed = from_rows(result, len(block), header, job.core, output)
            parts[output.name].append(placed)
    return {
        output.name: np.concatenate(parts[output.name]).reshape(output.sizes)
        for output in job.outputs
    }
