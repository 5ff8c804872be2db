"""What a clean machine needs: exact versions that fit together, every package, no addresses."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    found = {}
    for line in pinned:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s@;]+)", line)
        assert match, f"{line!r} is no exact version"
        found[canonicalize_name(match[1])] = match[2]
    assert len(found) == len(pinned)
    return found


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for one in lists for text in one]


def test_the_constraints_name_exact_versions_only():
    assert len(constraints()) > 150
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"https?:|@ |--hash|--index|file:", text)


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_constraints_suit_the_project(requirement):
    version = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(Version(version))


def test_the_constraints_are_complete_for_what_is_installed():
    """Every requirement of every pinned package that this environment has is pinned too."""
    from importlib.metadata import PackageNotFoundError, requires

    pinned, missing = constraints(), []
    environment = {**default_environment(), "extra": ""}
    for name in pinned:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue  # of an extra that this environment lacks
        for text in needed:
            one = Requirement(text)
            is_needed = one.marker is None or one.marker.evaluate(environment)
            if is_needed and canonicalize_name(one.name) not in {*pinned, "setuptools", "pip"}:
                missing.append(f"{name} needs {one}")
    assert missing == []


def test_every_folder_of_modules_is_packaged():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("usid_tasks", "flows", "configs")
        for path in ROOT.glob(f"{top}/**/__init__.py")
    }
    assert folders == set(PROJECT["tool"]["setuptools"]["packages"])


def test_no_file_names_an_index_of_packages():
    parts = [("pypi", "org"), ("python", "hosted"), ("registry", "npmjs"), ("deb", "debian")]
    hosts = re.compile("|".join(rf"{one}\.?{two}" for one, two in parts))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        path = ROOT / name
        if name == Path(__file__).relative_to(ROOT).as_posix() or not path.is_file():
            continue
        assert not hosts.search(path.read_text("utf-8", "replace")), name
