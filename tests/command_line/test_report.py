"""What people and programs are told about findings, runs and stores."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from usid_tasks.model import Finding, Outcome, Severity
from usid_tasks.report import (
    count,
    finding_lines,
    fold,
    plain_console,
    print_conversion,
    print_findings,
    print_summary,
    summary_lines,
)

UNITS = Finding(
    id="R10",
    severity=Severity.ERROR,
    file="a.h5",
    path="/Measurement_000/Raw_Data",
    found="2 labels, 3 units",
    expected="as many units as labels",
    remedy="write one unit for each label",
    section="Ancillary datasets",
)
NAMES = replace(UNITS, id="R2", severity=Severity.ERROR, section="")
CHUNKS = replace(UNITS, id="S1", severity=Severity.WARNING)
ORDER = replace(UNITS, id="R15", severity=Severity.INFO)


@dataclass(frozen=True)
class Record:
    path: Path
    outcome: Outcome
    reason: str = ""
    mains: int = 1
    seconds: float = 0.5
    bytes: int = 1024**2


@dataclass(frozen=True)
class Run:
    files: list[Record]
    exit_status: int = 0
    counts: dict[Outcome, int] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "counts", Counter(record.outcome for record in self.files))


@dataclass(frozen=True)
class Conversion:
    store: Path | None
    outcome: Outcome
    arrays: list[str]
    findings: list[Finding]


def printed(write, *arguments, **options) -> str:
    console = Console(
        file=io.StringIO(), highlight=False, markup=False, emoji=False, soft_wrap=True
    )
    write(console, *arguments, **options)
    return console.file.getvalue()


def test_identical_findings_fold_over_files_and_only_those():
    findings = [replace(UNITS, file=name) for name in ("b.h5", "a.h5", "c.h5", "a.h5")]
    folded = fold([*findings, replace(UNITS, file="d.h5", found="other")])
    assert [entry.files for entry in folded] == [("b.h5", "a.h5", "c.h5"), ("d.h5",)]
    assert folded[0].finding.file == "b.h5"


def test_errors_come_first_then_ids_by_number():
    folded = fold([ORDER, CHUNKS, UNITS, NAMES])
    assert [entry.finding.id for entry in folded] == ["R2", "R10", "S1", "R15"]


def test_findings_are_told_once_with_all_their_parts():
    findings = [replace(UNITS, file=f"{name}.h5") for name in "abcd"]
    assert printed(print_findings, [*findings, CHUNKS], n_files=6).splitlines() == [
        "errors",
        "  R10  a.h5 /Measurement_000/Raw_Data  and 3 other files",
        "      found     2 labels, 3 units",
        "      expected  as many units as labels",
        "      to do     write one unit for each label",
        "      section   Ancillary datasets",
        "warnings",
        "  S1  a.h5 /Measurement_000/Raw_Data",
        "      found     2 labels, 3 units",
        "      expected  as many units as labels",
        "      to do     write one unit for each label",
        "      section   Ancillary datasets",
        "",
        "6 files, 2 sound: 4 errors, 1 warning, 0 information",
    ]


def test_no_finding_is_one_line():
    assert printed(print_findings, [], n_files=1) == (
        "1 file, 1 sound: 0 errors, 0 warnings, 0 information\n"
    )


def test_text_from_files_is_shown_as_it_is_but_safely():
    odd = replace(UNITS, file="[red]a.h5", found="line\nend :smile: \x1b[31m µV", path="/x" * 200)
    told = printed(print_findings, [odd])
    assert r"line\nend :smile: \x1b[31m µV" in told
    assert "[red]a.h5" in told
    assert "/x" * 200 in told


def test_findings_as_json_lines_read_back():
    lines = list(finding_lines([UNITS, CHUNKS]))
    assert [Finding.from_json(json.loads(line)) for line in lines] == [UNITS, CHUNKS]


def test_a_file_name_that_is_no_text_is_still_json():
    (line,) = finding_lines([replace(UNITS, file="a\udc80.h5")])
    assert json.loads(line.encode("utf-8"))["file"] == "a\udc80.h5"


def test_a_run_lists_what_did_not_go_well_worst_first():
    run = Run(
        [
            Record(Path("good.h5"), Outcome.DONE, mains=3),
            Record(Path("same.h5"), Outcome.CURRENT, mains=9),
            Record(Path("late.h5"), Outcome.DEFERRED, "changed 4 s ago", mains=0),
            Record(Path("other.h5"), Outcome.NOT_USID, "no Main dataset", mains=0),
            Record(Path("deep/half.h5"), Outcome.PARTIAL, "1 of 2 Main datasets is unsound"),
            Record(Path("bad.h5"), Outcome.FAILED, "truncated", mains=0),
        ],
        exit_status=1,
    )
    assert printed(print_summary, run).splitlines() == [
        "failed     bad.h5        truncated",
        "partial    deep/half.h5  1 of 2 Main datasets is unsound",
        "deferred   late.h5       changed 4 s ago",
        "not USID   other.h5      no Main dataset",
        (
            "6 files: 1 done, 1 current, 1 partial, 1 not USID, 1 deferred, 1 failed; "
            "4 Main datasets stored from 2.0 MiB"
        ),
    ]


def test_a_run_with_nothing_to_do_says_so_in_one_line():
    current = [Record(Path(f"{n}.h5"), Outcome.CURRENT) for n in range(12)]
    assert printed(print_summary, Run(current)) == "nothing to do: 12 files current\n"
    other = Record(Path("other.h5"), Outcome.NOT_USID)
    assert printed(print_summary, Run([*current, other])) == (
        "nothing to do: 12 files current, 1 not USID\n"
    )
    assert printed(print_summary, Run([])) == "nothing to do: no HDF5 file found\n"


def test_a_known_failure_is_never_nothing_to_do():
    run = Run([Record(Path("a.h5"), Outcome.CURRENT), Record(Path("b.h5"), Outcome.FAILED, "x")])
    assert "failed     b.h5  x" in printed(print_summary, run)


def test_a_run_as_json_lines_ends_with_its_summary():
    run = Run([Record(Path("a.h5"), Outcome.NOT_USID, "no Main", 0)], exit_status=0)
    first, last = [json.loads(line) for line in summary_lines(run)]
    assert first == {
        "kind": "file",
        "path": "a.h5",
        "outcome": "not USID",
        "reason": "no Main",
        "mains": 0,
        "seconds": 0.5,
        "bytes": 1048576,
    }
    assert last["kind"] == "summary"
    assert last["counts"] == {outcome: int(outcome == "not USID") for outcome in Outcome}
    assert last["exit_status"] == 0


def test_a_conversion_tells_its_store_and_arrays():
    done = Conversion(Path("out.zarr"), Outcome.DONE, ["/Raw_Data"], [])
    assert printed(print_conversion, done) == "done: 1 array in out.zarr\n  /Raw_Data\n"
    failed = Conversion(None, Outcome.FAILED, [], [UNITS])
    assert printed(print_conversion, failed).splitlines()[-1] == "failed: 0 arrays"


def test_a_console_that_is_no_terminal_gets_no_colours(capsys):
    print_findings(plain_console(), [UNITS], n_files=1)
    assert "\x1b" not in capsys.readouterr().out


def test_numbers_agree_with_their_nouns():
    assert [count(n, "file") for n in (0, 1, 1200)] == ["0 files", "1 file", "1,200 files"]
