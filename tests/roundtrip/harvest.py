"""A pytest plugin: every HDF5 file that a test leaves behind goes to a store and back.

Files of which nothing could be converted get one more sound Main dataset first. What was done is
counted in the file that ``HARVESTED_TO`` names, a line each.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Take the files of a test's folder, before its fixtures end."""
    wrong = None
    try:
        _take(item)
    except Exception as error:
        wrong = error
    yield
    if wrong is not None:
        raise wrong


def _take(item: pytest.Item) -> None:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if folder is None or item.name.startswith("test_x1_"):  # there a rule is made to crash
        return
    sys.path.insert(0, str(Path(__file__).parent))
    for path in sorted(Path(folder).glob("*.h5")):
        copy = _copy(path)
        if copy is not None:
            _bring_back(copy, item.nodeid)


def _copy(path: Path) -> Path | None:
    """Return a copy beside a file, with one more sound Main dataset; None where none can be had."""
    from usid_files import Side, line, write_main

    copy = path.with_name(f"{path.stem}.harvested{path.suffix}")
    shutil.copyfile(path, copy)
    try:
        with h5py.File(copy, "r+") as file:
            table = np.indices((2, 3)).reshape(2, -1).T[:, ::-1]
            write_main(
                file.create_group("zz sound"),
                position=Side(table, ["X", "Y"]),
                spectroscopic=line("Bias", np.arange(2.0)),
            )
    except (OSError, ValueError, RuntimeError):
        copy.unlink()
        return None
    return copy


def _bring_back(path: Path, name: str) -> None:
    from coming_back import there_and_back

    with TemporaryDirectory() as folder:
        made = there_and_back(path, Path(folder))
    with Path(os.environ["HARVESTED_TO"]).open("a") as stream:
        stream.write(f"{name} {path.name}: {', '.join(map(str, made.differences)) or 'alike'}\n")
