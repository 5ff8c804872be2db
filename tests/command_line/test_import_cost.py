"""What `usid --help` and `import usid_tasks` load, and that neither starts anything."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "numpy",
    "h5py",
    "zarr",
    "pydantic",
    "pydantic_settings",
    "xarray",
    "dask",
    "distributed",
    "prefect",
    "pyUSID",
    "rich",
    "yaml",
}

TELL = """
import contextlib, io, json, sys, threading
from pathlib import Path
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as printed:
    {work}
children = "".join(task.read_text() for task in Path("/proc/self/task").glob("*/children")).split()
json.dump(
    {{
        "modules": sorted({{name.partition(".")[0] for name in sys.modules}}),
        "threads": threading.active_count(),
        "children": children,
        "printed": printed.getvalue(),
    }},
    sys.stdout,
)
"""


def run_python(work: str) -> dict[str, object]:
    code = TELL.format(work=work.replace("\n", "\n    "))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def run_usid(*arguments: str) -> dict[str, object]:
    return run_python(
        f"sys.argv = {['usid', *arguments]!r}\nfrom usid_tasks.cli import main\nmain()"
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_nothing_heavy(option):
    told = run_usid(option)
    assert told["printed"]
    assert HEAVY.intersection(told["modules"]) == set()


@pytest.mark.parametrize(
    "command",
    [
        "ingest",
        "validate",
        "inspect",
        "convert",
        "rechunk",
        "rules",
        "demo",
        "config",
        "config show",
    ],
)
def test_help_on_a_command_imports_nothing_heavy_of_ours(command):
    told = run_usid(*command.split(), "--help")
    assert "Example:" in told["printed"] or command == "config"
    # typer reads the types of a command's options through pydantic
    assert HEAVY.intersection(told["modules"]) <= {"pydantic"}


@pytest.mark.parametrize("module", ["usid_tasks", "usid_tasks.cli", "usid_tasks.progress"])
def test_importing_starts_nothing_and_loads_nothing_heavy(module):
    told = run_python(f"import {module}")
    assert HEAVY.intersection(told["modules"]) == set()
    assert told["threads"] == 1
    assert told["children"] == []


@pytest.mark.parametrize(
    "module", ["usid_tasks.settings", "usid_tasks.report", "usid_tasks.configuration"]
)
def test_settings_and_reports_need_no_arrays(module):
    told = run_python(f"import {module}")
    arrays = {"numpy", "h5py", "zarr", "xarray", "dask", "prefect", "pyUSID"}
    assert arrays.intersection(told["modules"]) == set()


def test_every_command_is_listed_with_its_whole_first_line():
    told = run_usid("--help")
    lines = str(told["printed"]).partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == [
        *(
            "ingest",
            "validate",
            "inspect",
            "convert",
            "rechunk",
            "process",
            "tools",
            "provenance",
            "verify",
            "rules",
            "demo",
            "catalog",
            "config",
        )
    ]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)
