"""Every kind of file comes back from its store as it was, down to types, storage and bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import return_cases
import store_cases
from coming_back import there_and_back


@pytest.mark.parametrize("name", store_cases.CASES)
def test_files_of_stores_come_back(tmp_path: Path, name: str) -> None:
    made = there_and_back(store_cases.CASES[name](tmp_path / "scan.h5"), tmp_path)
    assert made.differences == ()


@pytest.mark.parametrize("name", return_cases.CASES)
def test_all_that_hdf5_has_comes_back(tmp_path: Path, name: str) -> None:
    made = there_and_back(return_cases.CASES[name](tmp_path / "scan.h5"), tmp_path)
    assert made.differences == ()
