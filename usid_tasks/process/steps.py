"""What is done with a block of positions, in a thread here or in a process anywhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from usid_tasks.durable import writing
from usid_tasks.process.headers import RowSource
from usid_tasks.tools import ByPosition, Job, MainHeader, Rows, State, find_tool
from usid_tasks.tools.rows import from_rows, to_rows
from usid_tasks.writing.cells import RawTable

Kind = Literal["rows", "partial", "block results"]
"""By position; a part of a pass; the results of positions after the last pass."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that a worker has to know of a run; it is picklable.

    ``tables`` are where the results lie that are written row by row, by name, in ``file``.
    """

    tool: str
    params: Mapping[str, Any]
    header: MainHeader
    rows: RowSource
    file: Path
    tables: Mapping[str, RawTable]


@dataclass(frozen=True, eq=False)
class Step:
    """What is done with every block of one pass; ``state`` is what the pass before left."""

    recipe: Recipe
    kind: Kind
    state: State | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Which stored rows are worked on, and where their positions lie: ``(n, n_dims)``."""

    number: int
    first: int
    last: int
    places: NDArray[np.intp]

    @property
    def n_positions(self) -> int:
        """How many."""
        return self.last - self.first


@lru_cache(maxsize=4)
def job_of(recipe: Recipe) -> Job:
    """Return the job of a recipe; made once in each process."""
    return find_tool(recipe.tool).prepare(recipe.header, dict(recipe.params))


def do_step(step: Step, block: Block) -> State | None:
    """Read a block and work on it; what is returned goes to the one who combines.

    Results of positions are durable in the file before this returns.

    Raises
    ------
    UsidError
        If rows cannot be read, results cannot be written, or the tool refuses values.
    """
    recipe = step.recipe
    job = job_of(recipe)
    with one_thread():
        rows = recipe.rows.read(block.first, block.last)
        if isinstance(job.work, ByPosition):
            write_rows(recipe, by_position(job, job.work, recipe.header, rows), block)
            return None
        where, state = Rows(block.first, block.places), step.state
        assert state is not None
        if step.kind == "partial":
            stage = job.work.next_stage(state)
            assert stage is not None
            return stage.partial(rows, where, state)
        assert job.work.block_results is not None
        write_rows(recipe, job.work.block_results(rows, where, state), block)
        return None


def by_position(
    job: Job, work: ByPosition, header: MainHeader, rows: NDArray
) -> dict[str, NDArray]:
    """Return what a tool makes of a block, ``(n_positions, *Spectroscopic sizes)`` by name."""
    made = work.function(to_rows(rows, header, job.core))
    return {
        output.name: from_rows(result, len(rows), header, job.core, output)
        for output, result in zip(job.outputs, made, strict=True)
    }


def write_rows(recipe: Recipe, made: Mapping[str, NDArray], block: Block) -> None:
    """Write results of positions into the file, durably."""
    for name, result in made.items():
        put_rows(recipe.tables[name], result, block.first)
    with writing(recipe.file):
        fd = os.open(recipe.file, os.O_RDWR)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def put_rows(table: RawTable, result: NDArray, first: int = 0) -> None:
    """Write rows, columns in the order of the header, to where they lie in a table."""
    if not result.size:
        return
    rows = slice(first, first + len(result))
    sizes = table.columns.shape
    cells = np.asarray(result, table.dtype).reshape(len(result), *sizes)
    table.put((rows, *(slice(0, size) for size in sizes)), cells)


class _Limit:
    """One thread for BLAS and OpenMP in this process, as long as anyone works."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limits: threadpool_limits | None = None

    def enter(self) -> None:
        with self.lock:
            if not self.users:
                self.limits = threadpool_limits(1)
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users and self.limits is not None:
                self.limits.restore_original_limits()
                self.limits = None


_LIMIT = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP work in one thread: how many there are may change the last bits."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()
