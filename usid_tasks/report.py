"""Findings, summaries and results as people read them, and as JSON lines.

Text for people goes through a :class:`rich.console.Console`, one line an entry and never cut;
JSON lines are plain strings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rich.console import Console
from rich.text import Text

from usid_tasks.model import JSON, Finding, Outcome, Severity
from usid_tasks.printable import printable
from usid_tasks.sizes import format_size

_HEADINGS = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.INFO: "information"}
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_OUTCOME_STYLES = {
    Outcome.FAILED: "bold red",
    Outcome.PARTIAL: "red",
    Outcome.OUTDATED: "yellow",
    Outcome.DEFERRED: "yellow",
}
_LISTED = (
    Outcome.FAILED,
    Outcome.PARTIAL,
    Outcome.OUTDATED,
    Outcome.DEFERRED,
    Outcome.NOT_USID,
)
"""Outcomes that get a line of their own in a summary, worst first."""

_MADE = (Outcome.DONE, Outcome.PARTIAL)
"""Outcomes of a file that has been stored in this run."""


class FileRecord(Protocol):
    """What became of one source file."""

    @property
    def path(self) -> object:
        """The source file."""

    @property
    def outcome(self) -> Outcome:
        """What became of it."""

    @property
    def reason(self) -> str:
        """Why, where that is not plain; one sentence."""

    @property
    def mains(self) -> int:
        """Main datasets stored."""

    @property
    def seconds(self) -> float:
        """Time the file took."""

    @property
    def bytes(self) -> int:
        """Size of the source."""


class Summary(Protocol):
    """What became of every source file of a run."""

    @property
    def files(self) -> Sequence[FileRecord]:
        """One record a file, in the order of their paths."""

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many files had each outcome."""

    @property
    def exit_status(self) -> int:
        """0 where all is well, 1 where something in the data is wrong or failed."""


class Conversion(Protocol):
    """What became of one file converted to one store."""

    @property
    def store(self) -> object:
        """Where the store is; None where none was made."""

    @property
    def outcome(self) -> Outcome:
        """What became of the file."""

    @property
    def arrays(self) -> Iterable[object]:
        """The paths of the arrays made."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found in the file."""


@dataclass(frozen=True)
class FoldedFinding:
    """One finding and every file in which it was made, in the order met."""

    finding: Finding
    files: tuple[str, ...]


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that colours only terminals, and neither wraps nor interprets text."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def fold(findings: Iterable[Finding]) -> list[FoldedFinding]:
    """Return findings that differ only in their file as one, errors first, then by id and path."""
    files: dict[Finding, dict[str, None]] = {}
    for finding in findings:
        files.setdefault(replace(finding, file=""), {})[finding.file] = None
    folded = [
        FoldedFinding(replace(key, file=next(iter(of))), tuple(of)) for key, of in files.items()
    ]
    return sorted(
        folded,
        key=lambda entry: (
            entry.finding.severity.rank,
            _natural(entry.finding.id),
            entry.finding.path,
            entry.files,
        ),
    )


def print_findings(
    console: Console, findings: Iterable[Finding], *, n_files: int | None = None
) -> None:
    """Print findings folded over files and grouped by severity, then a line of counts.

    Parameters
    ----------
    console
        Where to print.
    findings
        Of any number of files.
    n_files
        How many files were looked at; without it the line of counts is left out.
    """
    findings = list(findings)
    heading = None
    for entry in fold(findings):
        finding = entry.finding
        if finding.severity is not heading:
            heading = finding.severity
            console.print(Text(_HEADINGS[heading], style=_STYLES[heading]))
        others = len(entry.files) - 1
        also = f"  and {count(others, 'other file')}" if others else ""
        place = f"{printable(finding.file)} {printable(finding.path)}"
        console.print(Text.assemble("  ", (finding.id, _STYLES[heading]), f"  {place}{also}"))
        told = {
            "found": finding.found,
            "expected": finding.expected,
            "to do": finding.remedy,
            "section": finding.section,
        }
        for name, text in told.items():
            if text:
                console.print(f"      {name:<9} {printable(text)}")
    if n_files is not None:
        if findings:
            console.print()
        console.print(_counts_line(findings, n_files))


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each finding as one line of JSON."""
    for finding in findings:
        yield json.dumps(finding.to_json())


def print_summary(console: Console, summary: Summary) -> None:
    """Print a line for each file that did not simply go well, then a line of counts.

    Where there was nothing to do, one line says so.
    """
    for line in getattr(summary, "passed_over", ()):
        console.print(f"passed over  {printable(line)}")
    counts = {outcome: summary.counts.get(outcome, 0) for outcome in Outcome}
    counts = {outcome: n for outcome, n in counts.items() if n}
    if not counts:
        console.print("nothing to do: no HDF5 file found")
        return
    if counts.keys() <= {Outcome.CURRENT, Outcome.NOT_USID} and Outcome.CURRENT in counts:
        console.print(f"nothing to do: {_current_line(counts)}")
        return
    listed = [record for record in summary.files if record.outcome in _LISTED]
    listed.sort(key=lambda record: (_LISTED.index(record.outcome), str(record.path)))
    width = max((len(printable(record.path)) for record in listed), default=0)
    for record in listed:
        outcome = Text(f"{record.outcome:<9}", style=_OUTCOME_STYLES.get(record.outcome, ""))
        line = f"  {printable(record.path):<{width}}  {printable(record.reason)}"
        console.print(Text.assemble(outcome, line.rstrip()))
    told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    made = [
        record
        for record in summary.files
        if record.outcome in _MADE and not getattr(record, "known", False)
    ]
    stored = ""
    if made:
        mains = count(sum(record.mains for record in made), "Main dataset")
        stored = f"; {mains} stored from {format_size(sum(record.bytes for record in made))}"
    console.print(f"{count(sum(counts.values()), 'file')}: {told}{stored}")


def summary_lines(summary: Summary) -> Iterator[str]:
    """Yield one line of JSON for each file, then one for the run.

    The first have ``"kind": "file"``, the last ``"kind": "summary"``.
    """
    for record in summary.files:
        yield json.dumps(
            {
                "kind": "file",
                "path": str(record.path),
                "outcome": record.outcome.value,
                "reason": record.reason,
                "mains": record.mains,
                "seconds": round(record.seconds, 3),
                "bytes": record.bytes,
            }
        )
    counts = {outcome.value: summary.counts.get(outcome, 0) for outcome in Outcome}
    passed_over = list(getattr(summary, "passed_over", ()))
    yield json.dumps(
        {
            "kind": "summary",
            "counts": counts,
            "exit_status": summary.exit_status,
            "passed_over": passed_over,
        }
    )


def print_conversion(console: Console, conversion: Conversion) -> None:
    """Print what is wrong with a converted file, its store and its arrays."""
    wrong = [f for f in conversion.findings if f.severity is not Severity.INFO]
    if wrong:
        print_findings(console, wrong)
    arrays = [printable(array) for array in conversion.arrays]
    style = _OUTCOME_STYLES.get(conversion.outcome, "")
    place = "" if conversion.store is None else f" in {printable(conversion.store)}"
    console.print(
        Text.assemble((conversion.outcome.value, style), f": {count(len(arrays), 'array')}{place}")
    )
    for array in arrays:
        console.print(f"  {array}")


def count(n: int, noun: str) -> str:
    """Return a number with its noun: ``"1 file"``, ``"2 files"``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def settings_lines(settings: Mapping[str, tuple[JSON, str]]) -> Iterator[str]:
    """Yield the lines of a configuration file, each value with where it came from as a comment.

    Parameters
    ----------
    settings
        Dotted key to value and source, in order.
    """
    lines = []
    for dotted, (value, source) in settings.items():
        section, _, key = dotted.partition(".")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        line = f"  {key}: {json.dumps(value, ensure_ascii=False)}"
        lines.append((section, line, printable(source)))
    width = min(max((len(line) for _, line, _ in lines), default=0), 32)
    heading = None
    for section, line, source in lines:
        if section != heading:
            heading = section
            yield f"{section}:"
        yield f"{line:<{width}}  # {source}"


def _counts_line(findings: Sequence[Finding], n_files: int) -> str:
    by_severity = Counter(finding.severity for finding in findings)
    broken = len({finding.file for finding in findings if finding.severity is Severity.ERROR})
    told = [
        count(by_severity[Severity.ERROR], "error"),
        count(by_severity[Severity.WARNING], "warning"),
        f"{by_severity[Severity.INFO]} information",
    ]
    return f"{count(n_files, 'file')}, {n_files - broken} sound: {', '.join(told)}"


def _current_line(counts: Mapping[Outcome, int]) -> str:
    told = f"{count(counts[Outcome.CURRENT], 'file')} current"
    others = counts.get(Outcome.NOT_USID, 0)
    return f"{told}, {others} {Outcome.NOT_USID}" if others else told


def _natural(rule_id: str) -> tuple[str, int]:
    """Return a key that sorts R2 before R10."""
    letters = rule_id.rstrip("0123456789")
    digits = rule_id[len(letters) :]
    return letters, int(digits) if digits else 0
