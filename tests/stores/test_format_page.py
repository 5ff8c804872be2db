"""docs/formats.md: its code runs, on files that its commands would make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from format_files import TESTS, quiet_peers, write
from store_cases import CASES

PAGE = (TESTS.parent / "docs" / "formats.md").read_text("utf-8")


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hs: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write("zspy", CASES["a raster"](tmp_path / "scan.h5"), tmp_path / "scan.zspy")
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    assert len(blocks) == 2
    with quiet_peers():
        for block in blocks:
            exec(block, names)
    assert names["signals"]._lazy
    assert names["signals"].data.shape == (4, 3, 5)
