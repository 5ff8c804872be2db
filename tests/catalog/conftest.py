"""Destinations with receipts, and both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from catalog_files import lab_of_all_outcomes
from postgres_server import new_database, postgres_server

from usid_tasks.catalog.catalog import Catalog
from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.settings import Settings

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return a running PostgreSQL; skip where none is installed."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return what makes an empty database of one kind, and returns its URL."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return lambda: new_database(server)
    made: list[str] = []

    def new() -> str:
        made.append(f"sqlite:///{tmp_path}/catalog-{len(made)}.sqlite")
        return made[-1]

    return new


@pytest.fixture
def new_catalog(new_url: Callable[[], str]) -> Iterator[Callable[[], Catalog]]:
    """Return what opens an empty catalogue."""
    opened: list[Catalog] = []

    def new() -> Catalog:
        opened.append(Catalog.at(new_url()))
        return opened[-1]

    yield new
    for one in opened:
        one.close()


@pytest.fixture
def catalog(new_catalog: Callable[[], Catalog]) -> Catalog:
    """Return an empty catalogue."""
    return new_catalog()


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder with a file of every outcome, and where it was ingested to."""
    above = tmp_path_factory.mktemp("ingested")
    lab = lab_of_all_outcomes(above / "lab")
    request = IngestRequest(sources=[str(lab)], dest=above / "stores", settle_s=0.0)
    ingest(request, Settings())
    return lab, above / "stores"


@pytest.fixture
def lab(ingested: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a copy of the folder of files, their times kept."""
    return Path(shutil.copytree(ingested[0], tmp_path / "lab"))


@pytest.fixture
def dest(ingested: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a copy of what was ingested."""
    return Path(shutil.copytree(ingested[1], tmp_path / "stores"))
