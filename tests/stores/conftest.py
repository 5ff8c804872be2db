"""Fixtures of stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from usid_tasks.convert import ConvertResult, convert_file
from usid_tasks.settings import Settings


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., ConvertResult]:
    """Return what converts a file to ``tmp_path/store.zarr``."""

    def run(path: Path, **options: object) -> ConvertResult:
        settings = options.pop("settings", Settings())
        return convert_file(path, tmp_path / "store.zarr", settings=settings, **options)

    return run
