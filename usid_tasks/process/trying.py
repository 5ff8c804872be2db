"""A few positions tried: what comes of them, and what the whole will take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks.errors import NoMainDatasetError
from usid_tasks.model import JSON
from usid_tasks.process.blocks import BlockPlan, plan_blocks
from usid_tasks.process.group import raw_tables, write_partial
from usid_tasks.process.headers import Subject, subject_of
from usid_tasks.process.layout import layout_of
from usid_tasks.process.partial import Workplace
from usid_tasks.process.pools import Pool, open_pool
from usid_tasks.process.steps import Block, Recipe, Step, by_position, one_thread
from usid_tasks.settings import Settings, load_settings
from usid_tasks.tools import ByPosition, Job, MainHeader, Rows, Staged, State, Tool, find_tool
from usid_tasks.usid import read_usid

_BLOCKS_EACH = 3
_AROUND_S = 0.2
_DISK_BYTES_PER_S = 400e6
_TIMES_READ_BACK = 3


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of a few positions, and what the whole Main dataset is projected to take.

    ``rows`` are the positions that were looked at, as stored; ``arrays`` what was made of them,
    by output: ``(len(rows), *Spectroscopic sizes)``, or the whole of an output that positions do
    not make (computed from a part of them only). ``passes`` is 1 for tools by position.
    """

    dataset: str
    rows: tuple[int, ...]
    arrays: Mapping[str, NDArray]
    n_positions: int
    passes: int
    seconds: float
    memory_bytes: int
    results_bytes: int

    @property
    def positions_per_second(self) -> float:
        """Positions of the whole in a second."""
        return self.n_positions / self.seconds

    def to_json(self) -> dict[str, JSON]:
        """Return the projection as JSON, without the arrays."""
        return {
            "dataset": self.dataset,
            "rows": list(self.rows),
            "n_positions": self.n_positions,
            "passes": self.passes,
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
            "results_bytes": self.results_bytes,
        }


def try_positions(
    source: Path | str,
    tool: str,
    params: Mapping[str, Any] | None = None,
    *,
    dataset: str | None = None,
    component: str | None = None,
    n: int = 8,
    settings: Settings | None = None,
) -> Trial:
    """Return what a tool makes of a few positions, and what the whole is projected to take.

    Nothing is written beside the source.

    Parameters
    ----------
    source, tool, params, dataset, component, settings
        As for :func:`usid_tasks.process.process_file`; ``dataset`` is the first one by default.
    n
        Positions to look at, spread over the Main dataset.

    Raises
    ------
    RefusedError
        If the tool refuses the Main dataset, a parameter or values.
    NoMainDatasetError
        If there is no sound Main dataset, or not the one asked for.
    NotHDF5Error, FileBusyError, UnreadableDataError, OSError
        If the source cannot be read.
    """
    settings = settings or load_settings()
    found = find_tool(tool)
    mains = read_usid(source).mains
    name = next(iter(mains), "") if dataset is None else "/" + dataset.strip("/")
    if name not in mains:
        what = f"has no sound Main dataset {name}; it has {', '.join(mains) or 'none'}"
        raise NoMainDatasetError(source, what, "Name one that it has.")
    subject = subject_of(mains[name], component)
    job = found.prepare(subject.header, dict(params or {}))
    memory, workers = settings.process.memory, settings.process.workers
    plan = plan_blocks(subject, job, memory=memory, workers=workers)
    rows = np.unique(np.linspace(0, subject.n_positions - 1, max(1, n)).astype(int))
    rows = rows[: subject.n_positions]
    with (
        tempfile.TemporaryDirectory(prefix="usid-try-") as folder,
        one_thread(),
        open_pool(None, plan.workers) as pool,
    ):
        bench = _Bench(found, dict(params or {}), subject, plan, rows, Path(folder), pool)
        is_by_row = job.kind == "positions"
        arrays, passes, seconds = bench.by_row(job) if is_by_row else bench.staged()
    results_bytes = layout_of(subject, job).size_bytes
    return Trial(
        dataset=name,
        rows=tuple(rows.tolist()),
        arrays=arrays,
        n_positions=subject.n_positions,
        passes=passes,
        seconds=seconds + _around_s(subject, plan, results_bytes),
        memory_bytes=plan.memory_bytes,
        results_bytes=results_bytes,
    )


@dataclass(frozen=True)
class _Bench:
    """Some blocks of a Main dataset, worked on as in a run, in a folder of no account."""

    tool: Tool
    params: Mapping[str, Any]
    subject: Subject
    plan: BlockPlan
    rows: NDArray[np.intp]
    folder: Path
    pool: Pool

    def by_row(self, job: Job) -> tuple[dict[str, NDArray], int, float]:
        """Return results of the rows, passes, and seconds that all positions take."""
        work, header = job.work, self.subject.header
        assert isinstance(work, ByPosition)
        made = [by_position(job, work, header, self._read(row)) for row in self.rows]
        recipe = self._recipe(job, header)
        return _joined(made), 1, self._seconds(Step(recipe, "rows"))

    def staged(self) -> tuple[dict[str, NDArray], int, float]:
        """Return results, passes, and seconds that all positions take, from a part of them."""
        blocks = self._blocks()
        n_positions = sum(block.n_positions for block in blocks)
        header = replace(self.subject.header, n_positions=n_positions)
        job = self.tool.prepare(header, dict(self.params))
        work, recipe = job.work, self._recipe(job, header)
        assert isinstance(work, Staged)
        state, seconds, passes = work.begin(), 0.0, 0
        scale = self.plan.n_positions / max(1, n_positions)
        while (stage := work.next_stage(state)) is not None:
            started = time.monotonic()
            combined: State | None = None
            for _, part in self.pool.in_order(Step(recipe, "partial", state), blocks):
                assert part is not None
                combined = part if combined is None else stage.combine(combined, part)
            between = time.monotonic()
            assert combined is not None
            state = stage.finish(state, combined)
            seconds += (between - started) * scale + time.monotonic() - between
            passes += 1
        arrays = dict(work.results(state))
        if work.block_results is not None:
            made = [
                work.block_results(
                    self._read(row), Rows(int(row), self.subject.places[row : row + 1]), state
                )
                for row in self.rows
            ]
            arrays |= _joined(made)
            seconds += self._seconds(Step(recipe, "block results", state))
            passes += 1
        return arrays, passes, seconds

    def _read(self, row: int) -> NDArray:
        return self.subject.rows.read(int(row), int(row) + 1)

    def _blocks(self) -> list[Block]:
        """Return some blocks spread over all: as many for each worker, of all if there are few."""
        count = min(self.plan.n_blocks, _BLOCKS_EACH * self.plan.workers)
        numbers = np.unique(np.linspace(0, self.plan.n_blocks - 1, count).astype(int))
        ends = [self.plan.rows(int(number)) for number in numbers]
        places = self.subject.places
        return [Block(at, *end, places[slice(*end)]) for at, end in enumerate(ends)]

    def _recipe(self, job: Job, header: MainHeader) -> Recipe:
        place, layout = Workplace(self.folder), layout_of(self.subject, job)
        if not place.file.exists():
            write_partial(place.file, layout, None)
        tables = raw_tables(place.file, layout)
        name, rows = self.tool.name, self.subject.rows
        return Recipe(name, self.params, header, rows, place.file, tables)

    def _seconds(self, step: Step) -> float:
        """Return the seconds that a step takes for all positions, once the first block is done."""
        blocks = self._blocks()
        for _ in self.pool.as_done(step, blocks[:1]):
            pass
        started = time.monotonic()
        for _ in self.pool.as_done(step, blocks):
            pass
        took = time.monotonic() - started
        return took * self.plan.n_positions / max(1, sum(block.n_positions for block in blocks))


def _joined(made: Sequence[Mapping[str, NDArray]]) -> dict[str, NDArray]:
    if not made:
        return {}
    return {name: np.concatenate([each[name] for each in made]) for name in made[0]}


def _around_s(subject: Subject, plan: BlockPlan, results_bytes: int) -> float:
    """Return the seconds that hashing the source, and writing and comparing results, take."""
    first, last = plan.rows(plan.n_blocks // 2)
    started = time.monotonic()
    rows = subject.rows.read(first, last)
    blake3(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
    a_byte = (time.monotonic() - started) / max(1, rows.nbytes)
    stored = rows.itemsize * subject.n_positions * subject.header.n_columns
    again = _TIMES_READ_BACK * results_bytes * a_byte
    return _AROUND_S + stored * a_byte + again + results_bytes / _DISK_BYTES_PER_S
