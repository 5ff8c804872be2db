"""Every rule fires on a file on disk, through the command, and is quiet on its twin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from axis_cases import RULES_ON_ORDER, RULES_ON_VALUES
from cases import CHANNEL, ERROR, Case, stamp, write_clean
from file_cases import RULES_ON_GROUPS, RULES_ON_STORAGE
from main_cases import RULES_ON_TABLES, RULES_ON_THE_MAIN
from typer.testing import CliRunner
from usid_files import MAIN, Side

from usid_tasks.checks import RULES, registry, rules_page
from usid_tasks.cli import app
from usid_tasks.validate import validate_file

CASES = [
    *RULES_ON_THE_MAIN,
    *RULES_ON_TABLES,
    *RULES_ON_ORDER,
    *RULES_ON_VALUES,
    *RULES_ON_STORAGE,
    *RULES_ON_GROUPS,
]
DOCS = Path(__file__).resolve().parents[2] / "docs"
ELSEWHERE = {"F1", "R31", "X1"}
"""Rules that no record of an open file breaks; tested below."""


def validate(path: Path, *options: str, env: dict[str, str] | None = None) -> tuple[int, list[Any]]:
    """Return the exit status and the findings of ``usid validate --json``."""
    arguments = ["validate", str(path), "--json", *options]
    done = CliRunner().invoke(app, arguments, env=env, catch_exceptions=False)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.found}"[:60])
def test_a_rule_fires_once_and_not_on_the_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for the raw files of external storage
    path, twin = tmp_path / "scan.h5", tmp_path / "twin.h5"
    case.write(path, twin)
    status, found = validate(path, env=dict(case.settings))
    twin_status, known = validate(twin, env=dict(case.settings))
    assert twin_status == 0
    assert case.rule not in {finding["id"] for finding in known}
    seen = {(finding["id"], finding["found"]) for finding in known}
    new = [finding for finding in found if (finding["id"], finding["found"]) not in seen]
    assert [(f["id"], f["found"], f["severity"]) for f in new] == [
        (case.rule, case.found, case.severity)
    ]
    (finding,) = new
    assert status == (1 if case.severity is ERROR else 0)
    assert finding["file"] == str(path)
    assert finding["path"].startswith("/")
    for key in ("expected", "remedy", "section"):
        assert finding[key], key


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in RULES} - ELSEWHERE == {case.rule for case in CASES}
    assert [rule.id for rule in RULES[:31]] == [f"R{number}" for number in range(1, 32)]
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.id not in ELSEWHERE], ids=lambda r: r.id
)
def test_the_example_of_a_rule_is_a_true_finding(rule: Any) -> None:
    told = [case for case in CASES if case.rule == rule.id and case.found == rule.example]
    assert told
    assert told[0].severity is rule.severity


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_all_there_is_to_say(rule: Any) -> None:
    for name in ("title", "why", "section", "expected", "remedy", "example"):
        assert getattr(rule, name).strip(), name
    severities = {case.severity for case in CASES if case.rule == rule.id} - {rule.severity}
    for severity in severities:
        word = "information" if severity == "info" else str(severity)
        assert word in rule.varies, f"{rule.id} is a {word} at times, and does not say so"


def test_the_mild_rules_are_never_errors() -> None:
    """No file in the wild satisfies them all (and R6, R20, R23 permit)."""
    mild = {"R6", "R13", "R15", "R20", "R23", "R24", "R25", "R26", "R28", "R30"}
    severities = {case.rule: case.severity for case in CASES if case.severity is ERROR}
    assert not mild & set(severities)
    assert all(rule.severity is not ERROR for rule in RULES if rule.id in mild)
    assert all(rule.severity == "info" for rule in RULES if rule.id in {"R6", "R20", "R23"})


def test_errors_decide_soundness() -> None:
    """Every list but those that are judged while a file is parsed holds no error."""
    later = (registry.DATASET_RULES, registry.SIDE_RULES, registry.GROUP_RULES, registry.FILE_RULES)
    assert not [rule.id for rules in later for rule in rules if rule.severity is ERROR]


def test_the_page_is_up_to_date() -> None:
    page = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert page == rules_page(), "run: python -m usid_tasks.checks docs/rules.md"


def test_the_page_has_an_entry_for_each_rule() -> None:
    page = rules_page()
    for rule in RULES:
        assert f"\n## {rule.id}: {rule.title}\n" in page
        assert f"](#{rule.id.lower()})" in page


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    assert validate(write_clean(tmp_path / "clean.h5")) == (0, [])


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("Raw_Data-Fit_012", {"algorithm": "Fit", "num_source_dsets": 1}),
        ("Raw_Data-Two-Step_Fit_000", {"tool": "Two-Step_Fit", "num_sources": [1]}),
        ("Multi_Dataset-Fit_000", {"tool": "Fit", "num_sources": 2}),
    ],
)
def test_results_groups_that_are_as_they_should_be(
    tmp_path: Path, name: str, attrs: dict[str, Any]
) -> None:
    path = write_clean(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        group = file[CHANNEL].create_group(name)
        group.attrs.update(attrs)
        group["coefficients"] = 1
        for number in range(int(np.max(attrs.get("num_sources", 1)))):
            group.attrs[f"source_{number:03d}"] = file[MAIN].ref
        stamp(file)
    assert validate(path) == (0, [])


@pytest.mark.parametrize("name", ["timestamp", "time_stamp"])
@pytest.mark.parametrize(
    "version", ["pyUSID_version", "pycroscopy_version", "sidpy_version", "Pycroscopy version"]
)
def test_r26_takes_the_names_that_producers_write(tmp_path: Path, name: str, version: str) -> None:
    path = write_clean(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        for place in ("/", "/Measurement_000"):
            attrs = file[place].attrs
            stamp, number = attrs["time_stamp"], attrs["pyUSID_version"]
            del attrs["time_stamp"], attrs["pyUSID_version"]
            attrs.update({name: stamp, version: number})
    assert validate(path) == (0, [])


def text_file(path: Path) -> None:
    path.write_text("not HDF5 at all\n" * 100)


def truncated(path: Path) -> None:
    write_clean(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("write", [text_file, truncated, empty])
def test_f1_a_file_that_hdf5_cannot_open(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "scan.h5")
    status, findings = validate(tmp_path / "scan.h5")
    assert status == 1
    assert [(f["id"], f["severity"], f["path"]) for f in findings] == [("F1", "error", "/")]
    assert findings[0]["found"].startswith("HDF5 cannot open it: ")
    if write is text_file:
        example = next(rule.example for rule in RULES if rule.id == "F1")
        assert findings[0]["found"] == example


def test_f1_a_file_whose_structure_is_damaged(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"SNOD", b"XXXX"))
    status, findings = validate(path)
    assert status == 1
    assert [finding["id"] for finding in findings] == ["F1"]


@pytest.mark.parametrize(("rule_id", "severity"), [("R5", "warning"), ("R7", "error")])
def test_x1_a_rule_that_crashes_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule_id: str, severity: str
) -> None:
    def crash(_: object) -> Any:
        raise ZeroDivisionError("division by zero")
        yield

    for name in ("CANDIDATE_RULES", "DATASET_RULES"):
        rules = tuple(
            dataclasses.replace(rule, find=crash) if rule.id == rule_id else rule
            for rule in getattr(registry, name)
        )
        monkeypatch.setattr(registry, name, rules)
        monkeypatch.setattr(f"usid_tasks.usid.{name}", rules, raising=False)
    status, findings = validate(write_clean(tmp_path / "scan.h5"))
    assert status == (1 if severity == "error" else 0)
    assert [(f["id"], f["severity"]) for f in findings] == [("X1", severity)]
    assert findings[0]["found"].startswith(
        f"rule {rule_id} could not be checked: ZeroDivisionError"
    )


def test_r31_validating_changes_no_byte(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5")
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    validate(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)


def test_storage_thresholds_by_default(tmp_path: Path) -> None:
    """Files as large as the default thresholds mean: nothing is the wrong way round."""

    def ids(shape: tuple[int, int], **how: Any) -> set[str]:
        path = tmp_path / "large.h5"
        position = Side(np.arange(shape[0])[:, None], ["X"])
        spectral = Side(np.arange(shape[1])[:, None], ["Bias"])
        write_clean(path, position, spectral, allocate=False, **how)
        return {finding.id for finding in validate_file(path)} & {"S1", "S2", "S3"}

    wide = (16384, 5000)
    assert ids(wide) == {"S3"}
    assert ids(wide, chunks=(16, 5000)) == {"S3"}
    assert ids(wide, chunks=(16, 5000), compression="gzip") == set()
    assert ids(wide, chunks=(1, 100), compression="gzip") == {"S1"}
    assert ids(wide, chunks=(2000, 5000), compression="gzip") == {"S2"}
    assert ids((8192, 5000)) == set()
    assert ids((64, 50), chunks=(1, 50)) == set()
