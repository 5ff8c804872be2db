"""The Prefect server of a run: whether one is configured, and what it is started with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.embedded import ServerError, embedded_server

if TYPE_CHECKING:
    from usid_tasks.settings import Settings

VARIABLES = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DASK_LOGGING__DISTRIBUTED": "warning",
}
"""Set where nobody has set them: nothing phones home, and Dask tells only what matters."""


_DRAIN_S = 30.0


def prepare_environment() -> None:
    """Set the variables that must stand before Prefect and Dask are imported."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def server_url() -> str | None:
    """Return the address of the Prefect server that this machine is configured for, or None.

    Importing Prefect takes more than a second, so it is asked only where a place in which it
    looks (its variable, ``.env``, ``prefect.toml`` and ``pyproject.toml`` in the working folder,
    its profiles) mentions an address at all.
    """
    if "PREFECT_API_URL" not in os.environ and not any(map(_mentions_server, _places())):
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


@contextmanager
def answering_server(settings: Settings) -> Iterator[None]:
    """Make sure that a Prefect server answers: the configured one, else an embedded one.

    The embedded server listens on loopback only, and keeps its database where Prefect's settings
    say, in ``PREFECT_HOME`` by default.

    Raises
    ------
    ServerError
        If the configured server does not answer, or the embedded one not in the time that the
        setting ``prefect.startup_timeout_s`` gives.
    """
    from prefect.settings import get_current_settings, temporary_settings

    configured = get_current_settings()
    if configured.api.url:
        _ask(configured.api.url)
        yield
        return
    env = configured.to_environment_variables(exclude_unset=True)
    timeout_s = settings.prefect.startup_timeout_s
    with (
        embedded_server(env, timeout_s=timeout_s) as url,
        temporary_settings(updates={"api.url": url}),
    ):
        try:
            yield
        finally:
            send_what_waits()


def _ask(url: str) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem is not None:
        raise ServerError(
            url,
            f"the Prefect server does not answer ({problem})",
            "Start it, correct PREFECT_API_URL, or run `usid ingest --no-prefect`.",
        ) from problem


def send_what_waits() -> None:
    """Send the log lines and events that Prefect's threads hold, while there is a server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_S)


def _places() -> list[Path]:
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")
    names = (".env", "prefect.toml", "pyproject.toml")
    return [*map(Path, names), Path(profiles).expanduser()]


def _mentions_server(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:  # absent or not ours to read: Prefect could not take an address from it
        return False
    return "prefect" in f"{path.name} {text}" and "api" in text and "url" in text
