"""pytest plugin for the conformance tests: every file that a test leaves is read as signals.

Files without a sound Main dataset have no signal form; nor have, in HyperSpy, lazy arrays of no
values. Files of which nothing was written are too large to be read whole. The oracle follows no
arrays of references and no links that lead nowhere, and rebuilds nothing without rows.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

sys.path.append(str(Path(__file__).parents[1]))

LARGEST = 2**24
"""Cells of the largest Main dataset that is read."""

_count: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def read_what_was_written(tmp_path: Path) -> Iterator[None]:
    """Read the files of a test as signals when it has passed."""
    yield
    for path in sorted([*tmp_path.rglob("*.h5"), *tmp_path.rglob("*.ptir")]):
        if h5py.is_hdf5(path) and not path.is_symlink():
            _read(path)


def _read(path: Path) -> None:
    from hyperspy_load import load
    from signal_oracle import assert_signals_agree, read

    from usid_tasks.errors import NotHDF5Error
    from usid_tasks.usid import read_usid

    try:
        parsed = read_usid(path)
    except NotHDF5Error:
        return
    mains = parsed.mains.values()
    sizes = [math.prod(main.candidate.dataset.shape or ()) for main in mains]
    if not sizes or max(sizes) > LARGEST:
        return
    is_followed = not parsed.record.groups["/"].dangling and all(
        reference.state != "array"
        for main in mains
        for reference in main.candidate.references.values()
    )
    signals = assert_signals_agree(path) if min(sizes) and is_followed else read(path)
    _count["files"] += 1
    _count["signals"] += len(signals)
    for lazy in (False, True) if min(sizes) else (False,):
        assert len(load(path, lazy=lazy)) == len(signals)
        _count["loaded in HyperSpy"] += 1


def pytest_sessionfinish() -> None:
    """Tell how many files were read."""
    Path(os.environ["USID_SIGNALS_REPORT"]).write_text(json.dumps(_count))
