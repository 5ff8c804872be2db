"""Findings of files: what is wrong with them by the rules in :mod:`usid_tasks.checks`.

Rules and readers are imported where they are used: many files are judged in child processes, and
the one that tells of them needs neither NumPy nor h5py.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from usid_tasks.discover import DEFAULT_IGNORE, is_hdf5
from usid_tasks.errors import NotHDF5Error, SettingsError, UsidError
from usid_tasks.model import Finding, Severity
from usid_tasks.probe import TIMEOUT_S, findings_from_children
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.thresholds import Thresholds

if TYPE_CHECKING:
    from usid_tasks.settings import Settings
    from usid_tasks.usid import UsidFile

__all__ = [
    "Thresholds",
    "filtered",
    "findings_of",
    "thresholds_from",
    "validate_file",
    "validate_paths",
]


def thresholds_from(settings: Settings | None) -> Thresholds:
    """Return the thresholds that a configuration sets; the defaults without one."""
    if settings is None:
        return Thresholds()
    chosen = settings.validate
    return Thresholds(
        uniform_tolerance=chosen.uniform_tolerance,
        chunk_min=chosen.chunk_min,
        chunk_max=chosen.chunk_max,
        uncompressed_info=chosen.uncompressed_info,
    )


def findings_of(usid_file: UsidFile, thresholds: Thresholds | None = None) -> list[Finding]:
    """Return all findings of a parsed file, errors first, then by rule and path.

    The file is not opened again. All errors among them are in ``usid_file.findings`` already:
    what is sound was decided when it was parsed.
    """
    from usid_tasks.checks.registry import DATASET_RULES, FILE_RULES, GROUP_RULES, SIDE_RULES
    from usid_tasks.checks.rule import check_all
    from usid_tasks.checks.subjects import Judged, JudgedFile, JudgedGroup, JudgedSide

    thresholds = thresholds or Thresholds()
    record = usid_file.record
    found = list(usid_file.findings)
    for candidate in record.candidates.values():
        judged = Judged(candidate, record.dialect, thresholds)
        found += check_all(DATASET_RULES, record.file, judged)
    seen: set[int] = set()
    for main in usid_file.mains.values():
        for side in JudgedSide.of(main):
            if id(side.side) not in seen:  # Mains that share tables share the side
                seen.add(id(side.side))
                found += check_all(SIDE_RULES, record.file, side)
    for group in record.groups.values():
        found += check_all(GROUP_RULES, record.file, JudgedGroup(group, record))
    found += check_all(FILE_RULES, record.file, JudgedFile(record, usid_file.mains))
    return sorted(dict.fromkeys(found), key=_order)


def _order(finding: Finding) -> tuple[object, ...]:
    from usid_tasks.checks.registry import sort_key

    return (finding.severity.rank, sort_key(finding.id), finding.path, finding.found)


def validate_file(path: Path | str, settings: Settings | None = None) -> list[Finding]:
    """Return the findings of one file.

    Parameters
    ----------
    path
        A file of any kind: one that HDF5 cannot open is an error among the findings (F1).
    settings
        Its section ``validate`` sets thresholds, and which findings are told; without it,
        all are.

    Raises
    ------
    FileBusyError
        If another program holds the file open for writing.
    UsidError
        If it does not exist or may not be read.
    """
    return _told(findings_with(path, thresholds_from(settings)), settings)


def findings_with(path: Path | str, thresholds: Thresholds) -> list[Finding]:
    """Return all findings of one file (see :func:`validate_file` for what it raises)."""
    from usid_tasks.usid import read_usid

    try:
        usid_file = read_usid(path, tolerance=thresholds.uniform_tolerance)
    except NotHDF5Error as error:
        return [_cannot_be_opened(path, error)]
    except OSError as error:
        raise UsidError(
            path, f"cannot be read ({error.strerror or error})", "Check the path and permissions."
        ) from error
    return findings_of(usid_file, thresholds)


def _told(found: Sequence[Finding], settings: Settings | None) -> list[Finding]:
    if settings is None:
        return list(found)
    chosen = settings.validate
    return filtered(found, chosen.select, chosen.ignore, chosen.severity)


def _cannot_be_opened(path: Path | str, error: NotHDF5Error) -> Finding:
    from usid_tasks.checks.files import F1
    from usid_tasks.checks.rule import Violation

    return F1.finding(str(path), Violation("/", error.what))


def filtered(
    findings: Iterable[Finding],
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    severity: Severity = Severity.INFO,
) -> list[Finding]:
    """Return the findings of the selected rules (all if none is), at least this severe.

    Raises
    ------
    SettingsError
        If a rule is named that does not exist.
    """
    for name, ids in (("select", select), ("ignore", ignore)):
        for rule_id in ids:
            _refuse_unknown(rule_id, f"validate.{name}")
    return [
        finding
        for finding in findings
        if (not select or finding.id in select)
        and finding.id not in ignore
        and finding.severity.rank <= severity.rank
    ]


def _refuse_unknown(rule_id: str, setting: str) -> None:
    from usid_tasks.checks.registry import RULES

    known = [rule.id for rule in RULES]
    if rule_id not in known:
        near = get_close_matches(rule_id.upper(), known, n=1, cutoff=0)[0]
        raise SettingsError(
            setting,
            f"there is no rule {rule_id!r}",
            f"Did you mean {near}? `usid rules` lists all.",
        )


def validate_paths(
    paths: Iterable[Path | str],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[Path, list[Finding]]]:
    """Yield each file with its findings.

    Parameters
    ----------
    paths
        Files, each validated whatever it is, and folders, searched for HDF5 files by their
        content.
    settings
        See :func:`validate_file`; ``ingest.ignore`` names what is passed over in folders.
    progress
        Told the number of files.

    Raises
    ------
    UsidError
        Before anything is read, if a path does not exist or a rule is named that does not.
        After all others have been yielded, if a file is busy, or a file or folder may not be
        read.
    """
    progress = progress or NullProgress()
    if settings is not None:
        filtered((), settings.validate.select, settings.validate.ignore)
    ignore = DEFAULT_IGNORE if settings is None else settings.ingest.ignore
    failures: list[UsidError] = []
    found = [file for path in paths for file in files_at(Path(path), ignore, failures)]
    files = list(dict.fromkeys(found))
    progress.begin("validating", files=len(files))
    with closing(_answers(files, settings)) as answers:
        for file, answer in zip(files, answers, strict=True):
            if isinstance(answer, UsidError):
                failures.append(answer)
            else:
                yield file, _told(answer, settings)
            progress.advance(files=1)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        told = "; ".join(f"{error.where}: {error.what}" for error in failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise UsidError(
            f"{len(failures)} files or folders", f"not validated: {told}{more}",
            failures[0].remedy,
        ) from failures[0]  # fmt: skip


def _answers(
    files: Sequence[Path], settings: Settings | None
) -> Generator[list[Finding] | UsidError]:
    """Yield all findings of each file, or why there are none.

    One of many is judged in another process: HDF5 may crash on it without ending the others.
    """
    thresholds = thresholds_from(settings)
    if len(files) == 1:
        try:
            yield findings_with(files[0], thresholds)
        except UsidError as error:
            yield error
        return
    limit = settings.ingest.probe_timeout_s if settings else TIMEOUT_S
    answers = findings_from_children(files, asdict(thresholds), timeout_s=limit)
    with closing(answers):
        for file, answer in zip(files, answers, strict=True):
            if isinstance(answer, NotHDF5Error):
                answer = [_cannot_be_opened(file, answer)]
            yield answer


def files_at(path: Path, ignore: Sequence[str], failures: list[UsidError]) -> list[Path]:
    """Return the file itself, or the HDF5 files in a folder in the order of their names.

    Folders that cannot be searched are added to ``failures``.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsidError(path, "there is no such file or folder", "Correct the path.")

    def fail(error: OSError) -> None:
        what = f"cannot be searched ({error.strerror or error})"
        failures.append(UsidError(error.filename or path, what, "Check its permissions."))

    def is_ignored(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in ignore) or name.endswith(".zarr")

    found = []
    for folder, below, names in os.walk(path, onerror=fail):
        below[:] = sorted(name for name in below if not is_ignored(name))
        found += [
            file
            for name in sorted(names)
            if not is_ignored(name) and _is_candidate(file := Path(folder, name))
        ]
    return found


def _is_candidate(file: Path) -> bool:
    """Return True for an HDF5 file; what cannot be read is left to be told later."""
    if not file.is_file():
        return False
    try:
        return is_hdf5(file)
    except OSError:
        return True
