"""The cases of stores, and servers of flows, lie beside their own tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("stores", "runs")]


@pytest.fixture(autouse=True)
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what would be flushed instead of waiting for the disk; kills do not need it."""
    told: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: told.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    return told
