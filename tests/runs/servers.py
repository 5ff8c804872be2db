"""Processes that the flow tests start, ask and end: a real Prefect server, workers, commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_S = 240
"""Generous: machines that run tests are busy."""


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment without what concerns Prefect or us, and a Prefect home."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "USID", "DASK"))}
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return {**kept, **quiet, "PREFECT_HOME": str(home), **variables}


@contextmanager
def running(
    *command: str, env: dict[str, str], log: Path, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for as long as the block lasts, with all that it starts."""
    with log.open("ab") as told:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a process and its group: with SIGTERM, and after 20 s for certain."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(20)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def processes_with(variable: str, value: str) -> list[int]:
    """Return the processes that have a variable in the environment they began with."""
    wanted = f"{variable}={value}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


@dataclass(frozen=True)
class Server:
    """A Prefect server that runs: its address, and the home that its clients share."""

    url: str
    home: Path

    def ask(self, path: str, **body: Any) -> Any:
        """Return what the API answers to a POST."""
        return self.post(path, body)

    def post(self, path: str, body: Any) -> Any:
        """Return what the API answers to a POST of any JSON."""
        answer = httpx.post(f"{self.url}/{path}", json=body, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def flow_runs(self) -> list[dict[str, Any]]:
        """Return the flow runs, the one that began last first."""
        return self.ask("flow_runs/filter", sort="START_TIME_DESC")

    def newest(self) -> dict[str, Any]:
        """Return the flow run that began last."""
        return next(one for one in self.flow_runs() if one["state_type"] != "SCHEDULED")

    def artifacts(self, run: dict[str, Any]) -> dict[str, Any]:
        """Return key and content of the artifacts of a flow run: text, or rows of a table."""
        where = {"flow_run_id": {"any_": [run["id"]]}}
        found = self.ask("artifacts/filter", artifacts=where)
        return {
            one["key"]: json.loads(one["data"]) if one["type"] == "table" else one["data"]
            for one in found
            if one["key"]
        }

    def task_runs(self, run: dict[str, Any], n: int) -> dict[str, str]:
        """Return name and state of the task runs of a flow run, when `n` are recorded as ended."""
        where = {"id": {"any_": [run["id"]]}}
        for _ in range(300):  # they are recorded after they have happened
            found = self.ask("task_runs/filter", flow_runs=where)
            ended = {
                one["name"]: one["state_type"]
                for one in found
                if one["state_type"] not in ("PENDING", "RUNNING")
            }
            if len(ended) >= n:
                break
            time.sleep(0.2)
        return ended

    def logs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the log lines of a flow run."""
        return self.ask("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})


@contextmanager
def prefect_server(folder: Path) -> Iterator[Server]:
    """Start a real Prefect server on a free port of loopback; it ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    home, log = folder / "home", folder / "server.log"
    url = f"http://127.0.0.1:{port}/api"
    prefect = str(Path(sys.executable).with_name("prefect"))
    command = (prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    # schedules are looked at every minute otherwise
    env = clean_environment(home, PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="2")
    with running(*command, env=env, log=log, cwd=folder) as process:
        for _ in range(START_S * 5):
            if process.poll() is not None:
                break
            try:
                if httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success:
                    yield Server(url, home)
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        raise RuntimeError(f"no Prefect server: {log.read_text()}")
