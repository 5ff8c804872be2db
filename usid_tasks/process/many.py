"""A tool over many files in one run: one that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.model import JSON
from usid_tasks.process.results import SUFFIX, ProcessOutcome, ProcessResult
from usid_tasks.process.run import Format, process_file
from usid_tasks.process.telling import PositionProgress
from usid_tasks.settings import Settings
from usid_tasks.tools import find_tool
from usid_tasks.validate import files_at
from usid_tasks.workers import Engine

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Processed:
    """What became of one file: a result for each Main dataset, or why there is none."""

    source: Path
    results: tuple[ProcessResult, ...] = ()
    error: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the file failed, or a tool refused one of its Main datasets."""
        return bool(self.error) or any(
            each.outcome is ProcessOutcome.REFUSED for each in self.results
        )

    @property
    def told(self) -> str:
        """Why it is a failure, in a line; empty where it is none."""
        refused = [each for each in self.results if each.outcome is ProcessOutcome.REFUSED]
        return self.error or "; ".join(
            f"{each.source} {each.dataset}: {each.reason}" for each in refused
        )

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "source": str(self.source),
            "results": [each.to_json() for each in self.results],
            "error": self.error,
        }


@dataclass(frozen=True, kw_only=True)
class Order:
    """A tool with its parameters, to be run over files.

    Parameters
    ----------
    tool, params, dataset, component, in_place, format, override, engine, progress, check
        Those of :func:`usid_tasks.process.process_file`.
    out
        The results file, where there is one source file.
    settings
        The merged configuration; ``ingest.ignore`` names what is passed over in folders.
    """

    tool: str
    params: Mapping[str, Any]
    settings: Settings
    dataset: str | None = None
    component: str | None = None
    out: Path | None = None
    in_place: bool = False
    format: Format = "usid"
    override: bool = False
    engine: Engine | None = None
    progress: PositionProgress | None = None
    check: Callable[[], None] = lambda: None

    def files(self, sources: Iterable[Path | str]) -> Found:
        """Return the files that sources are, or hold.

        Raises
        ------
        RefusedError
            If the tool or a parameter is unknown, or ``out`` is given for several files.
        UsidError
            If a source is not there.
        """
        find_tool(self.tool).read_parameters(dict(self.params))
        failures: list[UsidError] = []
        found: dict[Path, Path | None] = {}
        for given in map(Path, sources):
            is_folder = given.is_dir()
            for file in files_at(given, self.settings.ingest.ignore, failures):
                if not (is_folder and file.name.endswith(SUFFIX)):
                    found.setdefault(file, given if is_folder else None)
        if self.out is not None and len(found) != 1:
            what = f"is one results file for {len(found)} sources"
            raise RefusedError(self.out, what, "Name one source, or no --out.")
        return Found(
            tuple(found.items()),
            tuple(Processed(source=Path(each.where), error=str(each)) for each in failures),
        )

    def process(self, file: Path, root: Path | None = None) -> Processed:
        """Run the tool over one file; a failure is told with it.

        ``root`` is the folder that it was found in, see :func:`usid_tasks.process.process_file`.
        """
        try:
            results = process_file(
                file,
                self.tool,
                self.params,
                dataset=self.dataset,
                component=self.component,
                out=self.out,
                in_place=self.in_place,
                format=self.format,
                override=self.override,
                root=root,
                settings=self.settings,
                engine=self.engine,
                progress=self.progress,
                check=self.check,
            )
        except (UsidError, OSError) as error:
            return Processed(source=file, error=str(error))
        except Exception as error:
            LOG.exception("%s: unexpected %s", file, type(error).__name__)
            reason = f"unexpected {type(error).__name__}: {error} (a defect: see the log)"
            return Processed(source=file, error=reason)
        return Processed(source=file, results=tuple(results))


@dataclass(frozen=True)
class Found:
    """Files to be processed, each with the folder it was found in, and folders not searched."""

    files: tuple[tuple[Path, Path | None], ...]
    unread: tuple[Processed, ...] = ()


def process_paths(sources: Iterable[Path | str], order: Order) -> Iterator[Processed]:
    """Run a tool over files and folders, and yield what became of each file.

    Folders are searched for HDF5 files by their content; results files in them are passed over.

    Raises
    ------
    UsidError
        See :meth:`Order.files`. What fails for one file is yielded with it.
    """
    found = order.files(sources)
    yield from found.unread
    for file, root in found.files:
        yield order.process(file, root)
