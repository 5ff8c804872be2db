"""Fixtures of the writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_signals import Signal

from usid_tasks import file_writer


@pytest.fixture
def write(path: Path) -> Callable[..., Path]:
    """Return what writes a signal to ``path``, and leaves nothing beside it."""

    def run(told: Signal, **options: Any) -> Path:
        file_writer(path, told, **options)
        assert [item.name for item in path.parent.iterdir()] == [path.name]
        return path

    return run
