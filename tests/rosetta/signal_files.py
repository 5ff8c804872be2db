"""Sides of the files that these tests read."""

from __future__ import annotations

import index_tables as it
import numpy as np
from usid_files import Side, line

POSITION = Side(it.grid({"Y": 4, "X": 3}), ["X", "Y"], ["nm", "um"])
POINT = Side(np.zeros((1, 1), int), ["arb"], ["a.u."])
BIAS = line("Bias", np.linspace(-1, 1, 5))
TRIANGLE = line("Bias", [0.0, 1, 2, 1, 0])
LOG = line("Frequency", [1e6, 1e4, 1e2, 1.0], units="Hz")
