"""Whether a Prefect server is configured, without paying for Prefect where none is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TELL = """
import sys
from flows.server import server_url
print(server_url())
print("prefect" in sys.modules)
"""


@pytest.fixture
def tell(tmp_path):
    """Return what `server_url` tells in an empty folder and home, and if Prefect was imported."""

    def run(**variables: str) -> list[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        env |= {"PREFECT_HOME": str(tmp_path / "home"), **variables}
        done = subprocess.run(
            [sys.executable, "-c", TELL],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_no_server_is_known_without_importing_prefect(tell, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nurls = {api = 'x'}\n")
    assert tell() == ["None", "False"]


def test_the_variable(tell):
    assert tell(PREFECT_API_URL="http://127.0.0.1:4/api") == ["http://127.0.0.1:4/api", "True"]


def test_a_file_in_the_working_folder(tell, tmp_path):
    (tmp_path / "prefect.toml").write_text("[api]\nurl = 'http://127.0.0.1:5/api'\n")
    assert tell()[0] == "http://127.0.0.1:5/api"


def test_the_active_profile_and_only_that(tell, tmp_path):
    profiles = tmp_path / "home" / "profiles.toml"
    profiles.parent.mkdir()
    text = "active = '{}'\n[profiles.a]\nPREFECT_API_URL = 'http://127.0.0.1:6/api'\n[profiles.b]\n"
    profiles.write_text(text.format("a"))
    assert tell()[0] == "http://127.0.0.1:6/api"
    profiles.write_text(text.format("b"))
    assert tell()[0] == "None"
