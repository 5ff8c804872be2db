"""The sentence, the page and the tables that tell a run, made from records alone."""

from __future__ import annotations

from pathlib import Path

from flows.artifacts import (
    MOST_TABLES,
    file_rows,
    finding_rows,
    ingest_page,
    ingest_sentence,
    rows_of,
)
from usid_tasks.ingest import FileRecord, IngestSummary
from usid_tasks.model import Finding, Outcome, Severity
from usid_tasks.receipts import MainRecord


def record(key: str, outcome: Outcome, reason: str = "", **more: object) -> FileRecord:
    return FileRecord(path=f"/data/{key}", key=key, outcome=outcome, reason=reason, **more)


def summary(*files: FileRecord, scheduled: bool = False) -> IngestSummary:
    return IngestSummary(files=files, dest=Path("/stores"), scheduled=scheduled)


def test_nothing_found_is_said():
    assert ingest_sentence(summary()) == "no HDF5 file found"


def test_all_is_well():
    assert ingest_sentence(summary(record("a", Outcome.DONE), record("b", Outcome.CURRENT))) == (
        "2 files: 1 done, 1 current"
    )


def test_the_first_failures_are_named_on_one_line():
    files = [record(f"{n}.h5", Outcome.FAILED, f"bad\n{'x' * 300}") for n in range(5)]
    told = ingest_sentence(summary(*files))
    assert told.startswith(r"5 files: 5 failed; 0.h5: bad\nxxx")
    assert told.endswith("…; and 2 more")
    assert len(told) < 800


def test_known_failures_are_told_apart_on_schedules():
    known = record("a", Outcome.FAILED, "bad", known=True)
    new = record("b", Outcome.FAILED, "worse")
    assert ingest_sentence(summary(known, new, scheduled=True)) == (
        "2 files: 2 failed; b: worse; 1 known failure unchanged"
    )
    assert ingest_sentence(summary(known, new)) == "2 files: 2 failed; a: bad; b: worse"


def test_the_page_counts_and_names_the_receipts():
    made = record("a", Outcome.DONE, mains=2, bytes=4096)
    before = record("b", Outcome.PARTIAL, "one broken", mains=1, bytes=4096, known=True)
    page = ingest_page(summary(made, before), n_tables=1, n_rows=3, left_out=7)
    assert "| done | 1 |" in page
    assert "2 Main datasets stored from 4.0 KiB in this run." in page
    assert "3 rows in 1 table, failures first. 7 rows left out" in page
    assert ".receipt.json" in page
    assert "    b: one broken" in page


def test_a_row_for_the_file_and_one_for_each_main():
    mains = (
        MainRecord(
            path="/a",
            outcome=Outcome.DONE,
            quantity="Current",
            units="nA",
            dtype="float32",
            dims=("y", "x"),
            shape=(32, 64),
        ),
        MainRecord(path="/b", outcome=Outcome.FAILED, reason="R9: no labels"),
    )
    rows = file_rows(record("a.h5", Outcome.PARTIAL, "1 of 2", main_records=mains, bytes=2048))
    assert [(row["Main dataset"], row["outcome"], row["what"]) for row in rows] == [
        ("", "partial", "1 of 2"),
        ("/b", "failed", "R9: no labels"),
        ("/a", "done", "Current (nA), y 32 × x 64, float32"),
    ]
    assert rows[0]["size"] == "2.0 KiB"
    assert {type(value) for row in rows for value in row.values()} <= {str, float, int}


def test_names_that_are_no_text_can_be_stored():
    (row,) = file_rows(record("a\udcff\x1b.h5", Outcome.DONE))
    assert row["file"] == r"a\udcff\x1b.h5"


def test_failures_come_first_and_what_is_known_comes_last():
    files = [
        record("a", Outcome.CURRENT, known=True),
        record("b", Outcome.DONE),
        record("c", Outcome.FAILED, known=True),
        record("d", Outcome.DEFERRED),
    ]
    rows, left_out = rows_of(summary(*files), table_rows=10)
    assert [row["file"] for row in rows] == ["c", "d", "b", "a"]
    assert left_out == 0


def test_known_files_fill_the_first_table_only():
    known = [record(f"{n:03}", Outcome.CURRENT, known=True) for n in range(100)]
    new = [record(f"n{n}", Outcome.DONE) for n in range(4)]
    rows, left_out = rows_of(summary(*known, *new), table_rows=10)
    assert [row["file"] for row in rows[:4]] == ["n0", "n1", "n2", "n3"]
    assert (len(rows), left_out) == (10, 94)


def test_tables_are_bounded():
    new = [record(f"{n}", Outcome.DONE) for n in range(3 * MOST_TABLES)]
    rows, left_out = rows_of(summary(*new), table_rows=2)
    assert (len(rows), left_out) == (2 * MOST_TABLES, MOST_TABLES)


def test_findings_of_several_files_are_one_row():
    def finding(file: str, severity: Severity) -> Finding:
        return Finding("R1", severity, file, "/", "this", "that", "do so")

    rows = finding_rows(
        [finding("a", Severity.INFO), finding("a", Severity.ERROR), finding("b", Severity.ERROR)]
    )
    assert [(row["severity"], row["file"], row["other files"]) for row in rows] == [
        ("error", "a", 1),
        ("info", "a", 0),
    ]
