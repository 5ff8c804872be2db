"""The benchmark of the writer measures what it says, and notices a file that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from benchmarks import write as writing
from benchmarks.data import MAIN, recipe_for, write_file
from usid_tasks.errors import VerificationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_write(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "write", "--size", "4MiB", "--repeats", "1",
         "--folder", str(tmp_path), "--no-write"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.stdout.count(f"│ {writing.H5PY} ") == 2
    for name in (writing.OURS, writing.THREADS, writing.PROCESSES):
        assert f"│ {name} " in done.stdout
    for name in (writing.OURS, writing.THREADS):
        assert f"│ {name}, {writing.BARE} " in done.stdout


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_wrong_value_is_noticed(path, is_whole):
    recipe = recipe_for(2**20, (("A", 64),))
    write_file(path, recipe)
    writing.check_file(path, recipe, is_whole=is_whole)
    with h5py.File(path, "r+") as file:
        file[MAIN][5, 7] += 1
    with pytest.raises(VerificationError, match="rows 0 to"):
        writing.check_file(path, recipe, is_whole=is_whole)
    with h5py.File(path, "r+") as file:
        del file[MAIN]
        file[MAIN] = recipe.table(slice(0, 3), slice(0, 64))
    with pytest.raises(VerificationError, match=r"\(3, 64\), expected float32"):
        writing.check_file(path, recipe, is_whole=is_whole)
