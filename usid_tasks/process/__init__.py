"""Tools over Main datasets of files: resumable, in bounded memory, with provenance."""

from __future__ import annotations

from usid_tasks.process.results import ProcessOutcome, ProcessResult
from usid_tasks.process.run import process_file
from usid_tasks.process.telling import PositionProgress
from usid_tasks.process.trying import Trial, try_positions

__all__ = [
    "PositionProgress",
    "ProcessOutcome",
    "ProcessResult",
    "Trial",
    "process_file",
    "try_positions",
]
