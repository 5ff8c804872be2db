"""A Prefect server of this process's own: on loopback, and gone when the process is.

Prefect's own embedded server hangs the run on Ctrl-C (it is interrupted too, before the run's
end can be told to it) and outlives a process that is killed. This one leads a session of its
own and ends when the pipe that this process holds is closed, however that comes about.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from usid_tasks.errors import UsidError

_STOP_S = 30.0
_LOOK_S = 0.1


class ServerError(UsidError):
    """The Prefect server does not answer, or the embedded one does not start."""


@contextmanager
def embedded_server(env: Mapping[str, str], *, timeout_s: float) -> Iterator[str]:
    """Start a server and yield the address of its API; it is stopped in any case.

    Parameters
    ----------
    env
        Prefect's settings as variables, put over the environment.
    timeout_s
        How long it may take to answer.

    Raises
    ------
    ServerError
        If it does not start, or not in time.
    """
    process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        port = _port(process, timeout_s)
    except BaseException:
        process.kill()  # nothing in it is worth waiting for
        raise
    else:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        _stop(process)


def _port(process: subprocess.Popen[str], timeout_s: float) -> int:
    assert process.stdout is not None
    late = threading.Timer(timeout_s, process.kill)
    late.start()
    try:
        told = process.stdout.readline()
        while told and not _answers(int(told)) and process.poll() is None:
            time.sleep(_LOOK_S)
    finally:
        late.cancel()
    if told and process.poll() is None:
        return int(told)
    raise ServerError(
        "the embedded Prefect server",
        f"it did not start within {timeout_s:g} s, or ended (see above)",
        "Raise prefect.startup_timeout_s, or run `usid ingest --no-prefect`.",
    )


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:  # not yet
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipes, and waits
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def serve() -> None:
    """Serve until standard input ends; the port is told on standard output."""
    import uvicorn
    from prefect.server.api.server import create_app

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        partial(create_app, ephemeral=True, final=True),
        factory=True,
        lifespan="on",
        log_level="error",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)

    def stop_at_end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end, daemon=True).start()
    try:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever started this has ended meanwhile
        return
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    server.run(sockets=[listening])
