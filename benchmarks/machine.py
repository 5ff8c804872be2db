"""Where figures were measured: enough to judge them, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measure import ROOT
from usid_tasks import __version__
from usid_tasks.sizes import format_size

_PACKAGES = (
    "numpy", "h5py", "zarr", "numcodecs", "xarray", "dask", "distributed", "rosettasciio", "pyUSID",
)  # fmt: skip
_WRITTEN_BYTES = 64 * 2**20


def describe_machine(folder: Path, *, load_before: float) -> dict[str, str]:
    """Return what a machine is, row by row, for the disk of a folder.

    Parameters
    ----------
    folder
        Where the data of the benchmark lies.
    load_before
        The load of the last minute before the benchmark began.
    """
    return {
        "CPU": f"{_cpu()}, {len(os.sched_getaffinity(0))} cores",
        "memory": format_size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "load": f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "disk": f"{_filesystem(folder)}, {format_size(shutil.disk_usage(folder).free)} free, "
        f"{format_size(int(_write_speed(folder)))}/s written and flushed",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "usid-flows": f"{__version__}{_commit()}",
        "packages": ", ".join(f"{name} {number}" for name, number in _versions().items()),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    """Return the kind of the file system that holds a folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [str(folder.resolve()), *map(str, folder.resolve().parents)]
    held = [(len(place), kind) for place, kind in mounts if place in above]
    return max(held)[1] if held else "unknown"


def _write_speed(folder: Path) -> float:
    """Return bytes a second of one large write, flushing included."""
    data = os.urandom(_WRITTEN_BYTES)
    with tempfile.TemporaryFile(dir=folder) as stream:
        began = time.perf_counter()
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        return _WRITTEN_BYTES / (time.perf_counter() - began)


def _commit() -> str:
    """Return the commit of the checkout and whether it was changed; nothing outside of one."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(
        [git, "--no-optional-locks", "describe", "--always", "--dirty=, changed"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def _versions() -> Mapping[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
