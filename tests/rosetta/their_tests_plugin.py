"""pytest plugin for RosettaSciIO's own tests of USID: they run on our reader and writer.

``numpy.product``, gone since NumPy 2, is for the sample writer of pyUSID 0.0.12 alone.
"""

from __future__ import annotations

import numpy as np
from rsciio import IO_PLUGINS

setattr(np, "product", np.prod)  # noqa: B010 - ruff would have the name be `prod`

for _plugin in IO_PLUGINS:
    if _plugin["name"] == "USID":
        _plugin["api"] = "usid_tasks.rosetta"
