"""The files of these tests are those of other tests; HyperSpy writes no settings of anyone."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("validation", "stores")]


@pytest.fixture(scope="session")
def hs(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return ``hyperspy.api``; its import writes a file of settings to the home of its user."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        warnings.simplefilter("ignore")
        api = importlib.import_module("hyperspy.api")
        assert api.preferences is not None
    return api
