"""Every file of the conformance tests, and of those of every rule, goes to a store and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = [*sorted((ROOT / "tests/reading").glob("test_conformance_*.py"))]
RULES = [ROOT / "tests/validation/test_rules.py"]


def harvest(folder: Path, tests: list[Path]) -> list[str]:
    """Run tests, bring back every file they leave, and return a line for each."""
    told = folder / "harvested"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "harvest",
        "-n", "2", "--timeout", "0", *map(str, tests),  # the run as a whole has its own
    ]  # fmt: skip
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500,
        env={**os.environ, "HARVESTED_TO": str(told), "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    return told.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_conformance_file_comes_back(tmp_path: Path) -> None:
    lines = harvest(tmp_path, TESTS)
    assert len(lines) > 550
    assert [line for line in lines if not line.endswith(": alike")] == []


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_file_that_breaks_a_rule_comes_back(tmp_path: Path) -> None:
    """What differs is told: storage in other files, and values that HDF5 could not read."""
    lines = harvest(tmp_path, RULES)
    assert len(lines) > 220
    told = [line for line in lines if not line.endswith(": alike")]
    assert all("[S4: " in line or "[F2: " in line for line in told), told
    assert len(told) == 8
