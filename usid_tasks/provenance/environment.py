"""Who computes: machine, platform, versions, code, configuration and flow run."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from blake3 import blake3

from usid_tasks import __version__
from usid_tasks.settings import Settings

PACKAGES = ("usid-flows", "h5py", "numpy", "scipy", "dask", "blake3")
"""What may change a result; the package of a tool of one's own is added to these."""

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""The variable in which Prefect tells the process of a flow run its id."""

_GIT_S = 10


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a run takes place; ``flow_run_id`` is empty outside of a Prefect flow run."""

    machine: str
    platform: str
    versions: Mapping[str, str]
    code_version: str
    flow_run_id: str = ""


def environment(
    packages: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> Environment:
    """Return what a record tells of this machine and this program.

    Parameters
    ----------
    packages
        Further ones whose versions are told, such as that of a tool.
    env
        The environment; that of the process if None.
    """
    return Environment(
        machine=socket.getfqdn(),
        platform=platform.platform(),
        versions=versions((*PACKAGES, *packages)),
        code_version=code_version(),
        flow_run_id=(os.environ if env is None else env).get(FLOW_RUN, ""),
    )


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed, and that of Python."""
    told = {"python": platform.python_version()}
    for name in packages:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return told


@cache
def code_version() -> str:
    """Return ``git describe`` of the checkout that runs, else the version of the package."""
    top = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (top / ".git").exists():
        return __version__
    command = [git, "-C", str(top), "describe", "--always", "--dirty", "--tags", "--abbrev=12"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, and no shell
            command, capture_output=True, text=True, timeout=_GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{done.stdout.strip()}"


def configuration_digest(settings: Settings) -> str:
    """Return ``blake3:hex`` of all settings as merged."""
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return f"blake3:{blake3(text.encode()).hexdigest()}"
