"""What is compared, and how stores are made small, lies beside the tests of rechunking."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("rechunk", "stores", "ingest")]
