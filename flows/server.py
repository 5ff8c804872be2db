"""Whether a Prefect server is configured, found out without importing Prefect where it is not."""

from __future__ import annotations

import os
from pathlib import Path


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
