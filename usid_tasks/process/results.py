"""Where results go, by what they are known, and what became of a run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blake3 import blake3

from usid_tasks.errors import RefusedError
from usid_tasks.model import JSON
from usid_tasks.provenance.lookup import results_groups
from usid_tasks.records import FileRecord
from usid_tasks.settings import Settings

SUFFIX = ".results.h5"
"""What follows the name of a source in that of its results file."""

KEY = "usid_key"
"""The attribute that tells what a group was computed from, by what, and how."""


class ProcessOutcome(StrEnum):
    """What became of one Main dataset."""

    COMPUTED = "computed"
    FOUND = "found"
    RESUMED = "resumed"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """What became of one Main dataset.

    ``file`` and ``group`` are where the results are; None where it was refused, for ``reason``.
    ``n_done`` positions were computed now, ``n_kept`` by a run that was killed or is long over.
    """

    source: Path
    dataset: str
    outcome: ProcessOutcome
    file: Path | None = None
    group: str | None = None
    reason: str = ""
    n_done: int = 0
    n_kept: int = 0
    seconds: float = 0.0
    store: Path | None = None

    @property
    def positions_per_second(self) -> float:
        """Positions computed now, in a second."""
        return self.n_done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "source": str(self.source),
            "dataset": self.dataset,
            "outcome": self.outcome.value,
            "file": None if self.file is None else str(self.file),
            "group": self.group,
            "reason": self.reason,
            "positions_done": self.n_done,
            "positions_kept": self.n_kept,
            "seconds": round(self.seconds, 3),
            "store": None if self.store is None else str(self.store),
        }


def key_of(
    fingerprint: str, dataset: str, component: str | None, tool: str, version: str,
    params: dict[str, JSON],
) -> str:  # fmt: skip
    """Return by what results are known: equal for the same source, tool and parameters alone."""
    told = [fingerprint, dataset, component, tool, version, params]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(32)


def find_finished(record: FileRecord, dataset: str, tool: str, key: str) -> str | None:
    """Return the path of the newest group of a key in a file; None where there is none."""
    found = [
        group.path
        for group in results_groups(record, dataset, tool)
        if _key_in(record, group.path) == key
    ]
    return found[-1] if found else None


def _key_in(record: FileRecord, group: str) -> JSON:
    told = record.groups[group].attributes.records.get(KEY)
    return told["value"] if isinstance(told, dict) else None


def place_of(
    source: Path, *, out: Path | None, in_place: bool, root: Path | None, settings: Settings
) -> Path:
    """Return the file that results go into.

    Parameters
    ----------
    out
        The file, where the caller names it.
    in_place
        Whether it is the source itself.
    root
        The folder that sources lie in: ``process.results_root`` has the same folders. That of
        the source by default.

    Raises
    ------
    RefusedError
        If the source may not be replaced, or its folder may not be written to.
    """
    if in_place:
        return _in_place(source, out, settings)
    if out is not None:
        target = Path(os.path.abspath(out))  # noqa: PTH100 - keeps links
        if target.exists() and target.samefile(source):
            what = "is the source itself"
            raise RefusedError(target, what, "Name another file, or use --in-place.")
        return target
    name = source.name + SUFFIX
    if settings.process.results_root is not None:
        base = Path(os.path.abspath(root)) if root is not None else source.parent  # noqa: PTH100
        if not source.is_relative_to(base):
            raise RefusedError(source, f"lies not below {base}", "Name the folder that it is in.")
        inner = source.parent.relative_to(base)
        return Path(os.path.abspath(settings.process.results_root)) / inner / name  # noqa: PTH100
    return source.with_name(name)


def _in_place(source: Path, out: Path | None, settings: Settings) -> Path:
    if out is not None:
        raise RefusedError(out, "results go into the source itself", "Leave --out or --in-place.")
    target = source.resolve()
    roots = [root.resolve() for root in settings.process.writable_roots]
    if not any(target.is_relative_to(root) for root in roots):
        known = ", ".join(map(str, roots)) or "none"
        raise RefusedError(
            source,
            f"lies below no folder that is marked as writable ({known})",
            "Leave out --in-place, or add its folder to process.writable_roots.",
        )
    return target


def refuse_read_only(target: Path) -> None:
    """Raise RefusedError where no file can be made beside a results file."""
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    is_mounted_so = os.statvfs(folder).f_flag & os.ST_RDONLY
    if is_mounted_so or not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedError(
            folder,
            "may not be written to, results cannot lie there",
            "Name another file with --out, or set process.results_root.",
        )
