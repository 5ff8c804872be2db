"""Every conformance case that has a signal form is read as the rebuild from its tables says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from axis_cases import RULES_ON_ORDER, RULES_ON_VALUES
from cases import Case
from file_cases import RULES_ON_GROUPS, RULES_ON_STORAGE
from main_cases import RULES_ON_TABLES, RULES_ON_THE_MAIN
from signal_oracle import Signal, assert_signals_agree, read
from store_cases import CASES

from usid_tasks.rosetta import file_reader
from usid_tasks.usid import read_usid

ROOT = Path(__file__).resolve().parents[2]
RULE_CASES = [
    *RULES_ON_THE_MAIN, *RULES_ON_TABLES, *RULES_ON_ORDER, *RULES_ON_VALUES, *RULES_ON_STORAGE,
    *RULES_ON_GROUPS,
]  # fmt: skip
BEYOND_THE_ORACLE = ("leads nowhere", "Position_Values: an array of one reference")
"""Files that the oracle does not follow, and that differ from their twins in no value."""
REAL = {
    "SingFreqPFM_0003.h5": 4,
    "simulated_STEM_Image.h5": 1,
    "AFM_Force_Curve.h5": 1,
    "sparse_sampling.h5": 7,
    "Nodax_Spectral_Array.ptir": 7,
}


@pytest.mark.parametrize("name", sorted({*CASES} - {"names in bytes", "no rows"}))
def test_files_of_every_kind(path: Path, name: str) -> None:
    CASES[name](path)
    assert len(assert_signals_agree(path)) >= 1


def test_names_that_are_no_text(path: Path) -> None:
    """The path in the metadata can be written anywhere, and leads back to the dataset."""
    CASES["names in bytes"](path)
    (signal,) = read(path)
    told = signal["original_metadata"]["dataset_path"]
    assert told == "/%81%FF/Raw_Data"
    json.dumps(signal["original_metadata"]["attributes"]).encode()
    (again,) = read(path, dataset_path=told)
    with h5py.File(path) as file:
        raw = file[b"\x81\xff/Raw_Data"][()]
    np.testing.assert_array_equal(again["data"], raw.reshape(4, 3, 5))
    np.testing.assert_array_equal(signal["data"], again["data"])


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not there")
    assert len(assert_signals_agree(shared_data / name)) == REAL[name]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_main_without_rows(path: Path, lazy: bool) -> None:
    CASES["no rows"](path)
    (signal,) = file_reader(path, lazy=lazy)
    assert signal["data"].shape == (0, 0, 5)
    assert [axis["size"] for axis in signal["axes"]] == [0, 0, 5]
    assert [axis["name"] for axis in signal["axes"]] == ["Y", "X", "Bias"]


@pytest.mark.parametrize("case", RULE_CASES, ids=lambda case: f"{case.rule}: {case.found}"[:60])
def test_files_that_break_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for the raw files of external storage
    path, twin = tmp_path / "scan.h5", tmp_path / "twin.h5"
    case.write(path, twin)
    assert assert_signals_agree(twin)
    if not read_usid(path).mains:
        with pytest.raises(ValueError, match="no Main" if case.rule == "F3" else case.rule):
            file_reader(path)
    elif case.found.startswith(BEYOND_THE_ORACLE):
        assert_same_values(read(path), read(twin))
    elif case.found != "no positions at all":
        assert assert_signals_agree(path)


def assert_same_values(signals: list[Signal], others: list[Signal]) -> None:
    for one, other in zip(signals, others, strict=True):
        np.testing.assert_array_equal(one["data"], other["data"])
        np.testing.assert_equal(one["axes"], other["axes"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_file_of_the_conformance_tests(tmp_path: Path) -> None:
    """The conformance tests of the engine, run once more, with each of their files read."""
    report = tmp_path / "read.json"
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
            "-p", "conformance_plugin", "--basetemp", str(tmp_path / "files"),
            "-W", "ignore::UserWarning", str(ROOT / "tests" / "reading"), "-k", "conformance",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={
            **os.environ, "PYTHONPATH": str(here), "USID_SIGNALS_REPORT": str(report),
            "HOME": str(tmp_path),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    told = json.loads(report.read_text())
    assert told["files"] > 300
    assert told["signals"] > told["files"]
    assert told["loaded in HyperSpy"] > 1.9 * told["files"]
