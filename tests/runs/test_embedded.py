"""The embedded server: what happens where it does not start."""

from __future__ import annotations

import os

import pytest
from servers import processes_with

from flows.embedded import ServerError, embedded_server


def test_a_server_that_is_late_is_told_and_ended(tmp_path):
    home = str(tmp_path / "prefect")
    late = pytest.raises(ServerError, match=r"did not start within 0\.1 s.*startup_timeout_s")
    with late, embedded_server({"PREFECT_HOME": home}, timeout_s=0.1):
        pytest.fail("it cannot have started")
    assert processes_with("PREFECT_HOME", home) == []


def test_a_server_that_cannot_start_is_not_waited_for(tmp_path, capfd):
    env = {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": os.devnull, "PYTHONHOME": os.devnull}
    with pytest.raises(ServerError, match="or ended"), embedded_server(env, timeout_s=300):
        pytest.fail("it cannot have started")
    assert "Python" in capfd.readouterr().err
