"""The cases of stores lie beside the tests of stores."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "stores"))
