"""``python -m flows.<name>`` and ``usid ingest --prefect`` as processes of their own.

Each starts the embedded server, and none may leave it behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import clean_environment, end_group, processes_with

pytestmark = pytest.mark.timeout(900)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment of a machine without a Prefect server; check that it stays so."""
    home = tmp_path / "prefect"
    yield clean_environment(home)
    for _ in range(300):
        if not (left := processes_with("PREFECT_HOME", str(home))):
            return
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    pytest.fail(f"processes left behind: {left}")


@pytest.fixture
def run(env: dict[str, str], tmp_path: Path) -> Run:
    def run_python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env={**env, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run_python


def test_wrong_usage_could_not_run(run):
    done = run("-m", "flows.ingest", "source")
    assert done.returncode == 2
    assert "--to" in done.stderr


def test_wrong_parameters_could_not_run(run):
    done = run("-m", "flows.ingest", "source", "--to", "stores", "--settle", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "error: parameters"
    assert "settle_s" in done.stderr


def test_a_wrong_configuration_is_told_before_a_server_is_started(run, sound, tmp_path):
    done = run("-m", "flows.ingest", sound, "--to", "stores", "--config", "absent.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'absent.yaml'}\n")
    assert not (tmp_path / "prefect" / "prefect.db").exists()


def test_a_server_that_does_not_answer_could_not_run(run, sound):
    done = run("-m", "flows.validate", sound, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert "the Prefect server does not answer" in done.stderr
    assert "PREFECT_API_URL" in done.stderr


@pytest.mark.slow
def test_ingest_of_sound_files_exits_with_0_and_is_recorded(run, sound, tmp_path):
    done = run("-m", "flows.ingest", sound, "--to", "stores", "--settle", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 file: 1 done; 1 Main dataset stored")
    assert done.stderr == ""
    assert (tmp_path / "stores" / "sound.h5.receipt.json").is_file()
    assert (tmp_path / "prefect" / "prefect.db").is_file()


@pytest.mark.slow
def test_ingest_of_broken_files_exits_with_1_and_tells_them_once(run, mixed):
    done = run("-m", "flows.ingest", mixed, "--to", "stores", "--settle", "0")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("4 files: 1 done, 1 partial, 1 not USID")
    assert (done.stdout + done.stderr).count("broken.h5") == 1


@pytest.mark.slow
def test_ingest_of_nothing_exits_with_2_and_says_why(run):
    done = run("-m", "flows.ingest", "absent", "--to", "stores")
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command_line_runs_the_flow(run, sound):
    usid = "from usid_tasks.cli import main; main()"
    done = run("-c", usid, "ingest", sound, "--to", "stores", "--settle", "0", "--prefect")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 file: 1 done; 1 Main dataset stored")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -9)],
)
def test_an_interrupted_run_ends_and_takes_its_server_along(env, sound, tmp_path, sign, status):
    for number in range(400):
        shutil.copyfile(sound / "sound.h5", sound / f"copy{number}.h5")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.ingest", str(sound), "--to", "stores", "--settle", "0"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while len(list((tmp_path / "stores").glob("*.receipt.json"))) < 5:
            assert process.poll() is None
            time.sleep(0.1)
        if sign is signal.SIGINT:
            os.killpg(process.pid, sign)  # as a terminal does
        else:
            process.send_signal(sign)
        _, told = process.communicate(timeout=120)
    finally:
        end_group(process)
    assert process.returncode == status, told
    receipts = [path.read_text() for path in (tmp_path / "stores").glob("*.receipt.json")]
    assert {json.loads(text)["outcome"] for text in receipts} == {"done"}
