"""Fixtures of the writer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_signals import Signal

from usid_tasks import file_writer


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: one test tells when files are flushed, and kills do not need it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def write(path: Path) -> Callable[..., Path]:
    """Return what writes a signal to ``path``, and leaves nothing beside it."""

    def run(told: Signal, **options: Any) -> Path:
        file_writer(path, told, **options)
        assert [item.name for item in path.parent.iterdir()] == [path.name]
        return path

    return run
