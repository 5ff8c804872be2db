"""The demonstration: sample files, the main job as a facility runs it, and what to open next.

What lies in its folder::

    sources/        sample files of every kind
    stores/         their stores and receipts
    overview.png    a picture of the stores
    .prefect/       the record of the flow runs, by a Prefect server that ends with the command
    .usid-demo      the mark of a folder that is ours
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome
from usid_tasks.places import store_path
from usid_tasks.samples import Sample, write_samples

if TYPE_CHECKING:
    from usid_tasks.ingest import FileRecord, IngestSummary
    from usid_tasks.receipts import MainRecord

_MARK = ".usid-demo"
_CHANNEL = "/Measurement_000/Channel_{:03d}/Raw_Data"

PICTURED: tuple[tuple[str, str], ...] = (
    ("optics/polymer_blend.h5", _CHANNEL.format(0)),
    ("afm/pfm_domains.h5", _CHANNEL.format(0)),
    ("afm/pfm_domains.h5", _CHANNEL.format(2)),
    ("afm/stopped_scan.h5", _CHANNEL.format(0)),
    ("optics/luminescence_points.h5", _CHANNEL.format(0)),
    ("stem/diffraction_scan.h5", _CHANNEL.format(0)),
    ("afm/force_curve.h5", _CHANNEL.format(0)),
    ("afm/switching_loops.h5", _CHANNEL.format(0)),
    ("electrical/impedance_sweep.h5", _CHANNEL.format(0)),
)
"""Samples and Main datasets in the picture, the first in full."""


@dataclass(frozen=True)
class Row:
    """One line of the demonstration's table."""

    sample: str
    shows: str
    outcome: Outcome
    shape: str
    expected: Outcome | None = None

    @property
    def is_expected(self) -> bool:
        """True where the outcome is that of the sample; an earlier run may have come to it."""
        if self.expected is None:
            return True
        has_been = self.expected is Outcome.DONE and self.outcome is Outcome.CURRENT
        return self.outcome is self.expected or has_been


@dataclass(frozen=True)
class Demo:
    """What a demonstration made, and the commands to go on with."""

    rows: tuple[Row, ...]
    picture: Path
    next_steps: tuple[tuple[str, str], ...]

    @property
    def is_as_expected(self) -> bool:
        """True where every sample came to its outcome, the broken ones to theirs."""
        return all(row.is_expected for row in self.rows)

    def lines(self) -> Iterator[str]:
        """Yield the table, a line of judgement and what to do next, for a person."""
        heads = ("sample", "what it shows", "outcome", "N-D shape")
        table = [
            heads,
            *((row.sample, row.shows, row.outcome.value, row.shape) for row in self.rows),
        ]
        widths = [max(len(cells[column]) for cells in table) for column in range(3)]
        for cells in table:
            start = "  ".join(
                cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=True)
            )
            yield f"{start}  {cells[3]}".rstrip()
        yield ""
        odd = [row for row in self.rows if not row.is_expected]
        for row in odd:
            yield f"unexpected: {row.sample} is {row.outcome}, expected {row.expected}"
        yield "not every outcome is as expected" if odd else "every outcome is as expected"
        yield ""
        for what, command in (*self.next_steps, ("look at the picture", str(self.picture))):
            yield f"{what}:"
            yield f"  {command}"


def make_demo(directory: Path) -> Demo:
    """Write the samples, ingest them as a Prefect flow, and draw the picture.

    Parameters
    ----------
    directory
        Made where it is missing; one that an earlier demonstration made is brought up to date.

    Raises
    ------
    RefusedError
        If the folder holds something else.
    UsidError
        If Prefect's embedded server does not start; there is no other way round.
    """
    _claim_folder(directory)
    samples = write_samples(directory / "sources")
    summary = _ingest(directory)
    picture = _draw(directory)
    return Demo(tuple(_rows(directory, samples, summary)), picture, tuple(_next_steps(directory)))


def _claim_folder(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise RefusedError(directory, "is a file", "Name a folder: usid demo DIR.")
    mark = directory / _MARK
    if directory.is_dir() and any(directory.iterdir()) and not mark.is_file():
        raise RefusedError(
            directory,
            "holds something that no earlier demonstration made",
            "Name a new or empty folder: usid demo DIR.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    mark.write_text("made by `usid demo`, which may write here again\n", encoding="utf-8")


def _ingest(directory: Path) -> IngestSummary:
    with _private_prefect(directory / ".prefect"):
        from flows.ingest import run_flow
        from usid_tasks.ingest import IngestRequest

        request = IngestRequest(
            sources=[str(directory.resolve() / "sources")],
            dest=directory.resolve() / "stores",
            refresh=True,
            settle_s=0,
        )
        return run_flow(request, None)


@contextmanager
def _private_prefect(home: Path) -> Iterator[None]:
    """Keep Prefect's record in a folder of its own, away from the person's own servers."""
    kept = {name: text for name, text in os.environ.items() if name.startswith("PREFECT_")}
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        os.environ.pop(name, None)
    os.environ["PREFECT_HOME"] = str(home.resolve())
    try:
        yield
    finally:
        del os.environ["PREFECT_HOME"]
        os.environ.update(kept)


def _draw(directory: Path) -> Path:
    from usid_tasks.pictures import Choice, draw

    stores = directory / "stores"
    choices = [Choice(store_path(stores, key), path) for key, path in PICTURED]
    return draw(choices, directory / "overview.png")


def _rows(directory: Path, samples: Sequence[Sample], summary: IngestSummary) -> Iterator[Row]:
    records = {record.key: record for record in summary.files}
    for sample in samples:
        key = sample.path.relative_to(directory / "sources").as_posix()
        record = records.pop(key, None)
        if record is None:
            raise RefusedError(
                sample.path, "was not found by the ingest", "Remove the folder and start anew."
            )
        yield Row(key, sample.shows, record.outcome, _shape(record), sample.outcome)
    for key, other in records.items():
        yield Row(key, "a file of yours", other.outcome, _shape(other))


def _shape(record: FileRecord) -> str:
    """Return the N-D shapes of the Main datasets stored: ``3 × (Y 144, X 192)``."""
    shapes = [_sizes(main) for main in record.main_records if main.outcome is Outcome.DONE]
    told = []
    for shape, equal in groupby(shapes):
        count = len(list(equal))
        told.append(f"{count} × ({shape})" if count > 1 else f"({shape})")
    return ", ".join(told)


def _sizes(main: MainRecord) -> str:
    return ", ".join(f"{dim} {size}" for dim, size in zip(main.dims, main.shape, strict=False))


def _next_steps(directory: Path) -> Iterator[tuple[str, str]]:
    store = store_path(directory / "stores", "optics/polymer_blend.h5")
    node = _CHANNEL.format(0)
    code = f"import xarray; print(xarray.open_datatree({str(store)!r}, engine='zarr')[{node!r}])"
    is_plain = not set(code) & set('"$`\\!')
    quoted = f'"{code}"' if is_plain else shlex.quote(code)
    python, usid = _command("python"), _command("usid")
    yield "open a store", f"{python} -c {quoted}"
    inspected = directory / "sources" / "afm" / "band_excitation.h5"
    yield "see what is in a source", f"{usid} inspect {shlex.quote(str(inspected))}"
    validated = directory / "sources" / "afm"
    yield "see what is wrong with sources", f"{usid} validate {shlex.quote(str(validated))}"


def _command(name: str) -> str:
    """Return how to call a program of this environment: by its name where that finds it."""
    here = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not here.exists() or (found and Path(found) == here):
        return name
    inside = here.is_relative_to(Path.cwd())
    return shlex.quote(str(here.relative_to(Path.cwd()) if inside else here))
