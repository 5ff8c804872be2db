"""What a flow run leaves in Prefect for people: a summary, and tables of everything it met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from usid_tasks.ingest import FileRecord, IngestSummary
from usid_tasks.model import Finding, Outcome
from usid_tasks.places import RECEIPT_SUFFIX
from usid_tasks.printable import printable
from usid_tasks.receipts import MainRecord
from usid_tasks.report import count, fold
from usid_tasks.sizes import format_size

Row = dict[str, str | float]

MOST_TABLES = 100
"""Tables of one run; their rows lie in Prefect's database."""

_WORST_FIRST = (
    Outcome.FAILED,
    Outcome.PARTIAL,
    Outcome.DEFERRED,
    Outcome.OUTDATED,
    Outcome.DONE,
    Outcome.NOT_USID,
    Outcome.CURRENT,
)
_TOLD = 3
_REASON_LENGTH = 200
_LISTED = 20


def publish_ingest(summary: IngestSummary, *, table_rows: int) -> None:
    """Leave the tables of every file and Main dataset, failures first, and a summary.

    What is known from earlier runs and well is listed only as far as the first table has room:
    a run that does nothing leaves little behind.

    Parameters
    ----------
    summary
        Of the run.
    table_rows
        Rows of one table; there are as many tables as it takes, up to :data:`MOST_TABLES`.
    """
    rows, left_out = rows_of(summary, table_rows=table_rows)
    n_tables = publish_table(
        "usid-ingest", rows, table_rows=table_rows, title="Every file and Main dataset"
    )
    create_markdown_artifact(
        key="usid-ingest-summary",
        markdown=ingest_page(summary, n_tables=n_tables, n_rows=len(rows), left_out=left_out),
        description=_counts(summary),
    )


def rows_of(summary: IngestSummary, *, table_rows: int) -> tuple[list[Row], int]:
    """Return the rows of a run's tables, and how many are left out."""
    files = sorted(summary.files, key=lambda one: (_WORST_FIRST.index(one.outcome), one.key))
    telling = [row for one in files if not _is_quiet(one) for row in file_rows(one)]
    quiet = [row for one in files if _is_quiet(one) for row in file_rows(one)]
    rows = [*telling, *quiet[: max(table_rows - len(telling), 0)]]
    rows = rows[: MOST_TABLES * table_rows]
    return rows, len(telling) + len(quiet) - len(rows)


def publish_table(key: str, rows: Sequence[Row], *, table_rows: int, title: str) -> int:
    """Leave rows as tables named ``key``, ``key-2``, ..., and return how many."""
    parts = [rows[at : at + table_rows] for at in range(0, len(rows), table_rows)] or [rows]
    for number, part in enumerate(parts, start=1):
        create_table_artifact(
            key=key if number == 1 else f"{key}-{number}",
            table=[*part],
            description=f"{title}, table {number} of {len(parts)}" if len(parts) > 1 else title,
        )
    return len(parts)


def file_rows(record: FileRecord) -> list[Row]:
    """Return a row for a file and one for each of its Main datasets, the broken ones first."""
    outcome = f"{record.outcome} (known)" if _is_known_failure(record) else record.outcome.value
    told = printable(record.reason)
    size = format_size(record.bytes)
    rows = [_row(record, outcome, told, size=size, seconds=round(record.seconds, 3))]
    mains = sorted(record.main_records, key=lambda one: _WORST_FIRST.index(one.outcome))
    return rows + [
        _row(record, one.outcome.value, printable(one.reason or _sketch(one)), main=one.path)
        for one in mains
    ]


def finding_rows(findings: Iterable[Finding]) -> list[Row]:
    """Return a row for each finding, errors first, those equal in several files as one."""
    return [
        {
            "severity": entry.finding.severity.value,
            "rule": entry.finding.id,
            "file": printable(entry.finding.file),
            "other files": len(entry.files) - 1,
            "path": printable(entry.finding.path),
            "found": printable(entry.finding.found),
            "expected": printable(entry.finding.expected),
            "to do": printable(entry.finding.remedy),
        }
        for entry in fold(findings)
    ]


def ingest_sentence(summary: IngestSummary) -> str:
    """Return the run in one line: how many files came to what, and the first failures."""
    failures = [one for one in summary.files if one.outcome.is_failure]
    known = [one for one in failures if summary.scheduled and one.known]
    new = [one for one in failures if one not in known]
    parts = [_counts(summary), *(_cut(f"{one.key}: {one.reason}") for one in new[:_TOLD])]
    if len(new) > _TOLD:
        parts.append(f"and {len(new) - _TOLD} more")
    if known:
        parts.append(f"{count(len(known), 'known failure')} unchanged")
    return printable("; ".join(parts))


def ingest_page(summary: IngestSummary, *, n_tables: int, n_rows: int, left_out: int) -> str:
    """Return the run as a page of Markdown."""
    rows = [f"| {one} | {summary.counts[one]:,} |" for one in Outcome if summary.counts.get(one)]
    made = [one for one in summary.files if one.outcome in (Outcome.DONE, Outcome.PARTIAL)]
    new = [one for one in made if not one.known]
    stored = count(sum(one.mains for one in new), "Main dataset")
    failures = [one for one in summary.files if one.outcome.is_failure]
    lines = [
        "| outcome | files |",
        "|-|-|",
        *rows,
        "",
        f"{stored} stored from {format_size(sum(one.bytes for one in new))} in this run.",
        "",
        f"{count(n_rows, 'row')} in {count(n_tables, 'table')}, failures first."
        + (f" {count(left_out, 'row')} left out." if left_out else ""),
        f"Every source has its receipt: its own path below DEST, and `{RECEIPT_SUFFIX}`. DEST is",
        "",
        f"    {printable(summary.dest)}",
    ]
    if failures:
        told = [f"    {_cut(printable(f'{one.key}: {one.reason}'))}" for one in failures[:_LISTED]]
        more = [f"    and {len(failures) - _LISTED} more"] if len(failures) > _LISTED else []
        lines += ["", "Broken or failed:", "", *told, *more]
    return "\n".join(lines)


def _counts(summary: IngestSummary) -> str:
    if not summary.files:
        return "no HDF5 file found"
    counts = [f"{summary.counts[one]} {one}" for one in Outcome if summary.counts.get(one)]
    return f"{count(len(summary.files), 'file')}: {', '.join(counts)}"


def _is_known_failure(record: FileRecord) -> bool:
    return record.known and record.outcome.is_failure


def _is_quiet(record: FileRecord) -> bool:
    return record.known and not record.outcome.is_failure


def _row(
    record: FileRecord,
    outcome: str,
    told: str,
    *,
    main: str = "",
    size: str = "",
    seconds: float | str = "",
) -> Row:
    return {
        "outcome": outcome,
        "file": printable(record.key),
        "Main dataset": printable(main),
        "what": told,
        "size": size,
        "seconds": seconds,
    }


def _sketch(main: MainRecord) -> str:
    """Return a Main dataset in a few words: ``Current (nA), y 32 × x 64, float32``."""
    grid = " × ".join(f"{dim} {size}" for dim, size in zip(main.dims, main.shape, strict=False))
    units = f" ({main.units})" if main.units else ""
    return ", ".join(part for part in (f"{main.quantity}{units}", grid, main.dtype) if part)


def _cut(text: str) -> str:
    return text if len(text) <= _REASON_LENGTH else f"{text[: _REASON_LENGTH - 1]}…"
