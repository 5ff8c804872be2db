"""What a run leaves in DEST besides receipts: one small file, so that runs can be listed again.

Without it a run is still known by the receipts that bear its name, but not when nothing had to
be done, nor its flow run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from usid_tasks import durable

_FOLDER, _SUFFIX = "runs", ".json"
_RUN = re.compile(r"\w[\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run: times in UTC as receipts have them, ``counts`` of its files by outcome.

    ``ended`` is None while it runs; ``flow_run`` is Prefect's id, None without Prefect.
    """

    run: str
    started: str
    ended: str | None = None
    flow_run: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def run_path(dest: Path, run: str) -> Path:
    """Return where the record of a run lies.

    Raises
    ------
    ValueError
        If the run's id cannot be the name of a file.
    """
    if not _RUN.fullmatch(run):
        raise ValueError(f"run id {run!r} cannot be the name of a file")
    return dest / durable.CONTROL / _FOLDER / f"{run}{_SUFFIX}"


def write_run(dest: Path, record: RunRecord, *, mode: int | None = None) -> Path:
    """Write the record of a run, over a former one of the same run, and return its path.

    Raises
    ------
    ValueError
        If the run's id cannot be the name of a file.
    UsidError
        If DEST cannot be written.
    """
    path = run_path(dest, record.run)
    durable.make_folders(path.parent)
    text = json.dumps(asdict(record), indent=1, sort_keys=True)
    durable.write_file(path, f"{text}\n".encode(), mode=mode)
    return path


def read_runs(dest: Path) -> Iterator[RunRecord]:
    """Yield the records of all runs into DEST, oldest first; what is no record is passed over."""
    try:
        files = sorted((dest / durable.CONTROL / _FOLDER).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for file in files:
        if file.suffix == _SUFFIX and _RUN.fullmatch(file.stem):
            try:
                yield _record(file.stem, json.loads(file.read_bytes()))
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
                continue


def _record(run: str, told: Mapping[str, object]) -> RunRecord:
    counts = told["counts"]
    if not isinstance(counts, dict):
        raise TypeError("counts is no object")
    ended, flow_run = told.get("ended"), told.get("flow_run")
    return RunRecord(
        run=run,
        started=str(told["started"]),
        ended=None if ended is None else str(ended),
        flow_run=None if flow_run is None else str(flow_run),
        counts={str(name): int(n) for name, n in counts.items()},
    )
