"""``prefect.yaml`` from end to end: deployed, run by a worker, by hand and on a schedule."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import Server, clean_environment, prefect_server, running

from flows.convert import convert
from flows.ingest import ingest
from flows.process import process
from flows.rechunk import rechunk
from flows.validate import validate

pytestmark = pytest.mark.timeout(1200)

CLONE = Path(__file__).resolve().parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))

WAITING = ("SCHEDULED", "PENDING", "RUNNING")

Prefect = Callable[..., subprocess.CompletedProcess[str]]


def test_the_file_names_no_machine_and_its_schedule_is_inactive():
    text = (CLONE / "prefect.yaml").read_text()
    told = yaml.safe_load(text)
    assert told["pull"] == []
    assert str(CLONE) not in text
    flows = {"flows.ingest.ingest": ingest, "flows.validate.validate": validate}
    flows |= {"flows.convert.convert": convert, "flows.rechunk.rechunk": rechunk}
    flows |= {"flows.process.process": process}
    deployed = {
        f"{flows[one['entrypoint']].name}/{one['name']}": one for one in told["deployments"]
    }
    assert set(deployed) == {
        "ingest/lab", "validate/lab", "convert/one", "rechunk/one", "process/one"
    }  # fmt: skip
    (schedule,) = deployed["ingest/lab"]["schedules"]
    assert schedule["cron"]
    assert schedule["active"] is False


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prefect]]:
    """Return a server of its own with the deployments and a worker, and the prefect command."""
    folder = tmp_path_factory.mktemp("deployed")
    with prefect_server(folder) as server:
        env = clean_environment(server.home, PREFECT_API_URL=server.url)

        def prefect(*arguments: str, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [PREFECT, *arguments],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )

        pool = prefect("work-pool", "create", "usid", "--type", "process", "--overwrite")
        assert pool.returncode == 0, pool.stderr
        done = prefect("--no-prompt", "deploy", "--all", cwd=CLONE)
        assert done.returncode == 0, done.stdout + done.stderr
        worker = (PREFECT, "worker", "start", "--pool", "usid")
        with running(*worker, env=env, log=folder / "worker.log", cwd=folder):
            yield server, prefect


def run_deployment(prefect: Prefect, name: str, **params: Any) -> subprocess.CompletedProcess[str]:
    return prefect("deployment", "run", name, "--watch", "-p", f"params={json.dumps(params)}")


@pytest.mark.slow
def test_a_run_by_hand_exits_as_its_state_says(deployed, sound, mixed, tmp_path):
    server, prefect = deployed
    dest = tmp_path / "stores"
    where = {"dest": str(dest), "settle_s": 0}
    done = run_deployment(prefect, "ingest/lab", sources=[str(sound)], **where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (dest / "sound.h5.receipt.json").is_file()
    run = server.newest()
    assert (run["state_type"], run["state"]["message"]) == ("COMPLETED", "1 file: 1 done")

    done = run_deployment(prefect, "ingest/lab", sources=[str(mixed)], **where)
    assert done.returncode == 1
    assert server.newest()["state_type"] == "FAILED"

    done = run_deployment(prefect, "ingest/lab", sources=[str(mixed)], dst=str(dest))
    assert done.returncode == 1
    assert "'dst' was unexpected" in " ".join(done.stdout.split() + done.stderr.split())


@pytest.mark.slow
def test_a_schedule_counts_known_failures_without_failing(deployed, mixed, tmp_path):
    server, prefect = deployed
    params = {"sources": [str(mixed)], "dest": str(tmp_path / "stores"), "settle_s": 0}
    assert run_deployment(prefect, "ingest/lab", **params).returncode == 1
    by_hand = server.newest()
    soon = datetime.now(UTC) + timedelta(seconds=20)
    schedule = {
        "schedule": {"interval": 86400, "anchor_date": soon.isoformat()},
        "active": True,
        "parameters": {"params": params},
    }
    server.post(f"deployments/{by_hand['deployment_id']}/schedules", [schedule])
    for _ in range(300):
        runs = [one for one in server.flow_runs() if one["auto_scheduled"]]
        ended = [one for one in runs if one["state_type"] not in WAITING]
        if ended:
            break
        time.sleep(1)
    else:
        pytest.fail(f"no run ended: {[(r['expected_start_time'], r['state_type']) for r in runs]}")
    (run,) = ended
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["state"]["message"].endswith("; 2 known failures unchanged")


@pytest.mark.slow
def test_the_other_deployments_run(deployed, sound, tmp_path):
    _, prefect = deployed
    assert run_deployment(prefect, "validate/lab", paths=[str(sound)]).returncode == 0
    store = tmp_path / "one.zarr"
    params = {"file": str(sound / "sound.h5"), "dest": str(store)}
    assert run_deployment(prefect, "convert/one", **params).returncode == 0
    assert (store / "zarr.json").is_file()
    params = {"sources": [str(sound / "sound.h5")], "tool": "svd", "out": str(tmp_path / "r.h5")}
    assert run_deployment(prefect, "process/one", **params).returncode == 0
    assert (tmp_path / "r.h5").is_file()
