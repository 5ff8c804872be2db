"""What these tests share: the folder of the demonstration, made without Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from usid_tasks.ingest import FileRecord, IngestRequest, IngestSummary, ingest
from usid_tasks.samples import Sample, write_samples
from usid_tasks.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ingested:
    """The samples below ``folder``/usid-demo, ingested without Prefect."""

    folder: Path
    samples: tuple[Sample, ...]
    summary: IngestSummary

    @property
    def demo(self) -> Path:
        return self.folder / "usid-demo"

    @property
    def records(self) -> Mapping[str, FileRecord]:
        return {record.key: record for record in self.summary.files}

    def key(self, sample: Sample) -> str:
        return sample.path.relative_to(self.demo / "sources").as_posix()

    def ingest_again(self) -> IngestSummary:
        return ingest_demo(self.demo)


def ingest_demo(demo: Path) -> IngestSummary:
    request = IngestRequest(sources=[str(demo / "sources")], dest=demo / "stores", settle_s=0)
    return ingest(request, load_settings(None))


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Return the samples with their stores, in the places that `usid demo` gives them."""
    folder = tmp_path_factory.mktemp("person")
    samples = write_samples(folder / "usid-demo" / "sources")
    return Ingested(folder, samples, ingest_demo(folder / "usid-demo"))


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the project."""
    return ROOT
