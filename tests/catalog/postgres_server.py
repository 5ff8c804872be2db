"""A real PostgreSQL from the system's packages, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

START_S = 120
STOP_S = 30


def binaries() -> Path:
    """Return the folder of the newest PostgreSQL; skip where there is none."""
    pytest.importorskip("psycopg", reason="install the package psycopg[binary]")
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    named = shutil.which("postgres")
    if named is None:
        pytest.skip("no PostgreSQL: install the system's package postgresql")
    return Path(named).resolve().parent


def ordinary_user() -> dict[str, int]:
    """Return whom the server runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid}
    raise AssertionError("neither the user postgres nor nobody")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server, and give the URL that its databases begin with."""
    tools, user = binaries(), ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="usid-postgres-"))
    if user:
        os.chown(folder, user["user"], user["group"])
    data, port = folder / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    options = {"cwd": folder, "env": environment, "extra_groups": [] if user else None, **user}
    made = subprocess.run(
        [tools / "initdb", "-D", data, "-U", "usid", "-A", "trust", "-E", "UTF8", "--no-sync"],
        capture_output=True, text=True, **options,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "",
        "fsync": "off", "max_connections": 60, "shared_buffers": "32MB",
    }  # fmt: skip
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [tools / "postgres", "-D", data, *given], stdout=log, stderr=log, **options
        )
    try:
        wait_for(process, port, folder / "log")
        yield f"postgresql://usid@127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGINT)  # at once, without waiting for who is connected
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    give_up = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text("utf-8", "replace")
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="usid", dbname="postgres").close()
        except psycopg.OperationalError:
            assert time.monotonic() < give_up, log.read_text("utf-8", "replace")
            time.sleep(0.1)
        else:
            return


_numbers = count()


def new_database(server: str) -> str:
    """Return the URL of a new, empty database."""
    import psycopg

    name = f"catalog_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}{name}"
