"""Folders of files that end differently, and a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from prefect.settings import temporary_settings
from servers import Server, prefect_server
from usid_files import channel, line, write_file, write_main

from flows.server import send_what_waits

X = line("X", np.arange(4.0), "m")
BIAS = line("Bias", np.arange(3.0))
NO_LABELS = ("Position_Indices.labels", "Position_Values.labels")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return a folder with one sound file."""
    folder = tmp_path / "sound"
    folder.mkdir()
    write_file(folder / "sound.h5", X, BIAS)
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder with a sound, a partial, a broken and a not-USID file."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_file(folder / "sound.h5", X, BIAS)
    write_file(folder / "broken.h5", X, missing=NO_LABELS)
    with h5py.File(folder / "partial.h5", "w") as file:
        write_main(channel(file), position=X)
        write_main(channel(file, 0, 1), position=X, missing=NO_LABELS)
    with h5py.File(folder / "log.h5", "w") as file:
        file["seconds"] = np.arange(3)
    return folder


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a real Prefect server."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server
        send_what_waits()


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """Return a real Prefect server to which flows of this process go."""
    updates = {"api.url": running_server.url, "home": running_server.home}
    with temporary_settings(updates=updates):
        yield running_server
