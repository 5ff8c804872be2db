"""Fixtures that every test may use."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dask
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real files; skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real h5USID files are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def threaded_dask() -> Iterator[None]:
    """Compute in threads unless a test asks for another scheduler."""
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a test may write its file."""
    return tmp_path / "scan.h5"


@pytest.fixture(scope="session")
def hs(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return ``hyperspy.api``; its import writes a file of settings to the home of its user."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        warnings.simplefilter("ignore")
        api = importlib.import_module("hyperspy.api")
        assert api.preferences is not None
    return api
