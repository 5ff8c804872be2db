"""Fixtures of stores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from usid_tasks.convert import ConvertResult, convert_file
from usid_tasks.settings import Settings

FOLDERS = ("rosetta", "validation", "writing")
sys.path += [str(Path(__file__).parents[1] / folder) for folder in FOLDERS]


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., ConvertResult]:
    """Return what converts a file to ``tmp_path/store.zarr``."""

    def run(path: Path, **options: object) -> ConvertResult:
        settings = options.pop("settings", Settings())
        return convert_file(path, tmp_path / "store.zarr", settings=settings, **options)

    return run
