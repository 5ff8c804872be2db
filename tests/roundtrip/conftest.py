"""The cases that come back lie beside the tests of stores, rules and rechunking."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDERS = ("stores", "validation", "rechunk")
sys.path += [str(Path(__file__).parents[1] / folder) for folder in FOLDERS]
