"""A source file and the file of its results, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_files import means, source


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Return a source file."""
    return source(tmp_path / "data" / "scan.h5")


@pytest.fixture
def results(scan: Path) -> Path:
    """Return a results file beside its source."""
    place = scan.with_name("scan.h5.results.h5")
    means(scan, place)
    return place
