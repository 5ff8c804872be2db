"""A lab folder to ingest from, and a place to ingest to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from usid_tasks.ingest import IngestRequest, IngestSummary, ingest
from usid_tasks.settings import Settings


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Return an empty source folder."""
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Return where stores go; not there yet."""
    return tmp_path / "stores"


@pytest.fixture
def run(lab: Path, dest: Path) -> Callable[..., IngestSummary]:
    """Return what ingests the lab into the stores, trusting every file unless told otherwise."""

    def ingest_lab(**options: object) -> IngestSummary:
        settings = options.pop("settings", Settings())
        request = {"sources": [str(lab)], "dest": dest, "settle_s": 0.0, **options}
        return ingest(IngestRequest(**request), settings)

    return ingest_lab
