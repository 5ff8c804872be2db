"""How many positions are worked on at once: by arithmetic on memory, never by who works."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from usid_tasks.errors import RefusedError
from usid_tasks.process.headers import Subject
from usid_tasks.sizes import format_size
from usid_tasks.tools import Job
from usid_tasks.tools.rows import rows_per_position

NOMINAL_WORKERS = 4
"""Blocks that memory is divided among, however many workers there are."""

MOST_BYTES = 16 * 2**20
"""Bytes of stored rows in a block, at most: what is done again where a run is killed."""

_FEWEST_BLOCKS = 16


@dataclass(frozen=True)
class BlockPlan:
    """Blocks of ``size`` stored rows each, the last one shorter.

    ``worker_bytes`` is what one worker takes for a block; ``workers`` as many as memory allows.
    ``size`` follows from memory, tool and Main dataset alone: results do not depend on workers.
    """

    n_positions: int
    size: int
    worker_bytes: int
    fixed_bytes: int
    workers: int

    @property
    def n_blocks(self) -> int:
        """How many; one of no rows where there are none."""
        return max(1, -(-self.n_positions // self.size))

    @property
    def memory_bytes(self) -> int:
        """Memory that all workers take together."""
        return self.workers * self.worker_bytes + self.fixed_bytes

    def rows(self, number: int) -> tuple[int, int]:
        """Return the first row of a block, and the one after its last."""
        first = number * self.size
        return first, min(first + self.size, self.n_positions)


def position_bytes(subject: Subject, job: Job) -> int:
    """Return the memory that each position of a block takes at work."""
    header = subject.header
    stored = header.dtype.itemsize * max(1, header.n_columns)
    if job.kind == "staged":
        return job.row_bytes + stored
    results = sum(
        output.dtype.itemsize * prod(dim.size for dim in output.side("spectroscopic"))
        for output in job.outputs
    )
    # the block, its rows in the tool's order, and the results in the order of the file
    return job.row_bytes * rows_per_position(header, job.core) + 2 * stored + 2 * results


def plan_blocks(subject: Subject, job: Job, *, memory: int, workers: int) -> BlockPlan:
    """Return the blocks of a Main dataset for a job.

    Parameters
    ----------
    memory
        Bytes that all workers may take together.
    workers
        How many are wanted; fewer work where memory does not allow them.

    Raises
    ------
    RefusedError
        If a single position does not fit.
    """
    header = subject.header
    each, reading = position_bytes(subject, job), subject.rows.memory_bytes
    beside = job.fixed_bytes * (2 if job.kind == "staged" else 1)
    share = (memory - beside) // NOMINAL_WORKERS - reading
    if share < each:  # one block has all of it
        share = memory - beside - reading
    if share < each:
        needed = beside + reading + each
        raise RefusedError(
            f"{subject.main.candidate.file}:{subject.main.path}",
            f"one position needs {format_size(needed)} of memory, {format_size(memory)} are "
            "allowed",
            f"Set process.memory to {format_size(needed)} or more.",
        )
    stored = max(1, header.dtype.itemsize * header.n_columns)
    most = min(share // each, max(1, MOST_BYTES // stored))
    if header.n_positions:
        most = min(most, max(1, -(-header.n_positions // _FEWEST_BLOCKS)))
    size = _whole_chunks(most, subject)
    worker_bytes = size * each + reading
    allowed = max(1, (memory - beside) // worker_bytes)
    return BlockPlan(header.n_positions, size, worker_bytes, beside, min(workers, allowed))


def _whole_chunks(size: int, subject: Subject) -> int:
    """Return a size of whole HDF5 chunks where it holds one, so that none is decoded twice."""
    chunks = subject.main.candidate.dataset.storage.chunks
    if chunks is None or chunks[0] > size:
        return size
    return size // chunks[0] * chunks[0]
