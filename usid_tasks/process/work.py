"""One tool over one Main dataset, decided and then carried out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from usid_tasks.file_digests import looks_of
from usid_tasks.model import JSON
from usid_tasks.process.blocks import BlockPlan
from usid_tasks.process.group import completed_offset, raw_tables, write_partial
from usid_tasks.process.headers import Subject
from usid_tasks.process.layout import Layout
from usid_tasks.process.partial import Completed, Origin, States, Workplace
from usid_tasks.process.passes import Run, run_staged
from usid_tasks.process.pools import Pool, open_pool
from usid_tasks.process.publishing import Finished, changed, publish
from usid_tasks.process.results import (
    KEY,
    find_finished,
)
from usid_tasks.process.steps import Recipe, one_thread
from usid_tasks.process.telling import PositionProgress, Steps
from usid_tasks.provenance.environment import configuration_digest, environment
from usid_tasks.provenance.fingerprints import Fingerprint
from usid_tasks.provenance.records import Record, ResultDataset, SourceLink, stored_record
from usid_tasks.provenance.stored import write_receipt
from usid_tasks.receipts import utc_now
from usid_tasks.settings import Settings
from usid_tasks.tools import ByPosition, Job, Parameters, Tool
from usid_tasks.tools.declaration import Note
from usid_tasks.usid import read_usid
from usid_tasks.workers import Engine
from usid_tasks.writing.replacing import refuse_no_room


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for, checked; the same for all Main datasets of a source."""

    source: Path
    tool: Tool
    params: Parameters
    component: str | None
    target: Path
    in_place: bool
    override: bool
    settings: Settings
    engine: Engine | None
    progress: PositionProgress
    check: Callable[[], None]

    @property
    def told_params(self) -> dict[str, JSON]:
        """All parameters as JSON, defaults included."""
        told: dict[str, JSON] = self.params.model_dump(mode="json")
        return told


@dataclass(frozen=True)
class Work:
    """One tool over one Main dataset: decided, not yet done."""

    request: Request
    subject: Subject
    job: Job
    layout: Layout
    plan: BlockPlan
    marks: Fingerprint
    key: str
    looks: tuple[int, int, int, int]

    @property
    def origin(self) -> Origin:
        """What its partial file is of."""
        return Origin(str(self.request.source), self.subject.main.path, self.marks.digest)

    def is_source_same(self) -> bool:
        """Return whether the source still is what was read."""
        try:
            return looks_of(self.request.source) == self.looks
        except FileNotFoundError:
            return False

    def check_now(self) -> None:
        """Raise FileBusyError where the source is not any more what was read."""
        if not self.is_source_same():
            raise changed(self.request.source)

    def finished(self) -> str | None:
        """Return the group of a former run that finished the same; None where there is none."""
        target = self.request.target
        if not target.exists():
            return None
        record = read_usid(target).record
        return find_finished(record, self.subject.main.path, self.request.tool.name, self.key)

    def compute(
        self, workplace: Workplace, held: Callable[[], None]
    ) -> tuple[int, bool, dict[str, Note]]:
        """Compute all positions that are not done.

        Returns
        -------
        n_kept, is_resumed, notes
            Positions that a killed run had done; whether it left anything; what the tool tells.
        """
        source = None if self.request.in_place else self.subject.main
        workplace.begin(lambda file: write_partial(file, self.layout, source), self.origin)
        completed = Completed(
            workplace.file, completed_offset(workplace.file), self.plan.n_positions
        )
        n_kept = completed.n_done
        engine = self.request.engine
        with one_thread(), open_pool(engine, self.plan.workers) as pool:
            run = self._run(workplace, completed, pool, held)
            if n_kept:
                self.request.progress.note(f"{n_kept} positions were done before")
            if isinstance(self.job.work, ByPosition):
                run.every_row("")
                self.check_now()
                return n_kept, n_kept > 0, {}
            states = States(workplace.folder, f"blocks of {self.plan.size}")
            notes, is_resumed = run_staged(run, self.job.work, states)
            self.check_now()
            return n_kept, is_resumed or n_kept > 0, notes

    def _run(
        self, workplace: Workplace, completed: Completed, pool: Pool, held: Callable[[], None]
    ) -> Run:
        recipe = Recipe(
            self.request.tool.name,
            self.request.params.model_dump(),
            self.subject.header,
            self.subject.rows,
            workplace.file,
            raw_tables(workplace.file, self.layout),
        )

        def check() -> None:
            held()
            self.check_now()

        steps = Steps(self.request.progress, self.request.tool.name, self.plan.n_positions)
        places = self.subject.places
        return Run(recipe, self.layout, self.plan, places, completed, pool, check, steps.advance)

    def refuse_no_room(self, workplace: Workplace) -> None:
        """Raise RefusedError where results have no room: partial, and then published."""
        if not workplace.file.exists():
            refuse_no_room(self.request.target.parent, 2 * self.layout.size_bytes)

    def publish(
        self, workplace: Workplace, notes: Mapping[str, Note], started: str,
        held: Callable[[], None],
    ) -> str:  # fmt: skip
        """Make the results visible, and return the path of their group."""

        def check() -> None:
            held()
            self.check_now()

        def record_of(group: str, datasets: tuple[ResultDataset, ...]) -> Record:
            return self._record(group, datasets, notes, started)

        request = self.request
        attributes = {KEY: self.key, **notes}
        if request.component is not None:
            attributes["component"] = request.component
        finished = Finished(
            workplace.file, self.layout, self.subject.main, request.tool.name, request.target,
            request.in_place, record_of, attributes,
        )  # fmt: skip
        group = publish(finished, check)
        _write_receipt(request.target)
        return group

    def _record(
        self, group: str, datasets: tuple[ResultDataset, ...], notes: Mapping[str, Note],
        started: str,
    ) -> Record:  # fmt: skip
        request = self.request
        folder = request.target.parent
        file = "" if request.in_place else Path(os.path.relpath(request.source, folder)).as_posix()
        told: dict[str, JSON] = (
            {} if request.component is None else {"component": request.component}
        )
        return Record(
            tool=request.tool.name,
            algorithm=request.tool.algorithm,
            version=request.tool.version,
            parameters=request.told_params,
            sources=(
                SourceLink(file=file, dataset=self.subject.main.path, fingerprint=self.marks),
            ),
            group=group,
            datasets=datasets,
            started=started,
            ended=utc_now(),
            environment=environment(),
            configuration_digest=configuration_digest(request.settings),
            notes={**told, **notes},
        )


def _write_receipt(target: Path) -> None:
    """Write beside a file what its results groups hold of the runs that made them.

    A damaged record of another group is passed over: `usid provenance` tells it.
    """
    records = []
    for group in read_usid(target).record.groups.values():
        with suppress(KeyError, TypeError, ValueError):
            record = stored_record(group.attributes)
            if record is not None:
                records.append(record)
    write_receipt(target, records)
