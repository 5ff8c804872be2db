"""HyperSpy, loading our signals."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import usid_tasks


def load(path: Path | str, **options: Any) -> list[Any]:
    """Return the signals that ``hs.load`` makes of a file, always as a list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import hyperspy.api as hs

        loaded = hs.load(path, file_format=usid_tasks.rosetta, **options)
    return loaded if isinstance(loaded, list) else [loaded]
