"""Run a tool over the Main datasets of a file: resumable, verified, with provenance."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from usid_tasks.claims import Claim
from usid_tasks.convert import convert_file
from usid_tasks.durable import make_folders
from usid_tasks.errors import (
    ClaimedError,
    FileBusyError,
    NoMainDatasetError,
    RefusedError,
    UsidError,
)
from usid_tasks.file_digests import looks_of
from usid_tasks.model import Severity
from usid_tasks.process.blocks import plan_blocks
from usid_tasks.process.headers import subject_of
from usid_tasks.process.layout import layout_of
from usid_tasks.process.partial import Workplace
from usid_tasks.process.publishing import changed
from usid_tasks.process.results import (
    ProcessOutcome,
    ProcessResult,
    key_of,
    place_of,
    refuse_read_only,
)
from usid_tasks.process.telling import PositionProgress, Silence
from usid_tasks.process.work import Request, Work
from usid_tasks.provenance.fingerprints import fingerprint
from usid_tasks.provenance.lookup import describe_group
from usid_tasks.receipts import utc_now
from usid_tasks.settings import Settings, load_settings
from usid_tasks.settle import lock_state
from usid_tasks.tools import find_tool
from usid_tasks.usid import UsidFile, read_usid
from usid_tasks.workers import Engine

Format = Literal["usid", "zarr"]


def process_file(
    source: Path | str,
    tool: str,
    params: Mapping[str, Any] | None = None,
    *,
    dataset: str | None = None,
    component: str | None = None,
    out: Path | str | None = None,
    in_place: bool = False,
    format: Format = "usid",  # noqa: A002 - as the command has it
    override: bool = False,
    root: Path | None = None,
    settings: Settings | None = None,
    engine: Engine | None = None,
    progress: PositionProgress | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[ProcessResult]:
    """Run a tool over Main datasets of a file, and write each result as a results group.

    Run again after a kill, with the same source, tool and parameters, it takes up what is done.
    What was finished before is found and not computed again.

    Parameters
    ----------
    source
        An h5USID file. It is only read, but for ``in_place``.
    tool, params
        Name of a registered tool, and its parameters by name.
    dataset
        HDF5 path of one Main dataset; all that are sound by default, each with a results group
        of its own.
    component
        Field of a compound Main dataset, nested names joined by ``.``.
    out
        The results file. By default ``<source>.results.h5`` beside the source, or below
        ``process.results_root``.
    in_place
        Put the results group beside its Main dataset, on a verified copy that is renamed over
        the source. Its folder has to be one of ``process.writable_roots``.
    format
        ``zarr`` makes a store of the results file as well, under its name with ``.zarr``.
    override
        Compute anew what was finished before; it gets the next index.
    root
        The folder that sources lie in, of which ``process.results_root`` has the folders.
    settings
        The merged configuration; that of the environment by default.
    engine
        Whose workers work; threads by default.
    progress
        Told of positions done.
    check
        Called after every block; raises where the work has to end.

    Returns
    -------
    list of ProcessResult
        One for each Main dataset, in the order of the file; what a tool refuses is one of them.

    Raises
    ------
    RefusedError
        If the tool or a parameter is unknown, or results may not be written or have no room.
    NoMainDatasetError
        If there is no sound Main dataset, or not the one asked for.
    ClaimedError
        If another run is at the same work.
    NotHDF5Error, FileBusyError, OSError
        If the source cannot be opened, or changed while it was worked on.
    UnreadableDataError
        If values cannot be read.
    VerificationError
        If what was written does not read back.
    """
    settings = settings or load_settings()
    found = find_tool(tool)
    path = Path(os.path.abspath(source))  # noqa: PTH100 - keeps links
    given = None if out is None else Path(out)
    target = place_of(path, out=given, in_place=in_place, root=root, settings=settings)
    request = Request(
        source=path,
        tool=found,
        params=found.read_parameters(dict(params or {})),
        component=component,
        target=target,
        in_place=in_place,
        override=override,
        settings=settings,
        engine=engine,
        progress=progress or Silence(),
        check=check,
    )
    if format == "zarr" and in_place:
        what = "results go into the source itself"
        raise RefusedError(path, what, "Leave out --format zarr, or --in-place.")
    refuse_read_only(target)
    chosen, refused = _chosen(path, dataset)
    results = [_process_main(request, name) for name in chosen] + refused
    if format == "zarr":
        results = _as_store(request, results)
    return results


def _chosen(source: Path, dataset: str | None) -> tuple[list[str], list[ProcessResult]]:
    """Return the Main datasets to work on, and those that are refused because they are not sound.

    They are the one that is named, or all but those that are results.
    """
    lock = lock_state(source)
    if lock.is_busy:
        raise FileBusyError(source, lock.value, "Try again when the writer is done.")
    found = read_usid(source)
    if dataset is None and found.mains:
        results = tuple(
            f"{path}/"
            for path in found.record.groups
            if path != "/" and describe_group(found.record, path) is not None
        )
        raw = [path for path in found.mains if not path.startswith(results)]
        broken = [path for path in found.broken if not path.startswith(results)]
        return raw or list(found.mains), [_unsound(source, found, path) for path in broken]
    name = None if dataset is None else "/" + dataset.strip("/")
    if name in found.mains:
        return [name], []
    known = ", ".join(found.mains) or "none"
    what = f"has no sound Main dataset{'' if name is None else f' {name}'}; it has {known}"
    raise NoMainDatasetError(source, what, "See `usid validate`, or name another dataset.")


def _unsound(source: Path, found: UsidFile, path: str) -> ProcessResult:
    errors = (
        f"{each.id}: {each.found}"
        for each in found.findings
        if each.path == path and each.severity is Severity.ERROR
    )
    reason = f"{path}: is no sound Main dataset ({next(errors, 'a rule refuses it')})"
    return ProcessResult(source=source, dataset=path, outcome=ProcessOutcome.REFUSED, reason=reason)


def _process_main(request: Request, dataset: str) -> ProcessResult:
    started = time.monotonic()
    looks = looks_of(request.source)
    main = read_usid(request.source).mains.get(dataset)
    if main is None:
        raise changed(request.source)
    told = ProcessResult(
        source=request.source, dataset=dataset, outcome=ProcessOutcome.REFUSED,
        file=request.target,
    )  # fmt: skip
    try:
        subject = subject_of(main, request.component)
        job = request.tool.prepare(subject.header, request.params)
        layout = layout_of(subject, job)
        plan = plan_blocks(
            subject, job,
            memory=request.settings.process.memory, workers=_workers(request),
        )  # fmt: skip
    except RefusedError as error:
        return replace(told, file=None, reason=str(error))
    marks = fingerprint(main)
    key = key_of(
        marks.digest, dataset, request.component, request.tool.name, request.tool.version,
        request.told_params,
    )  # fmt: skip
    work = Work(request, subject, job, layout, plan, marks, key, looks)
    make_folders(request.target.parent)
    workplace = Workplace.of(request.target, key)
    with _claimed(request, workplace) as held:
        _remove_stale(request, work, workplace)
        done = _carry_out(work, told, workplace, held)
    return replace(done, seconds=time.monotonic() - started)


def _carry_out(
    work: Work, told: ProcessResult, workplace: Workplace, held: Callable[[], None]
) -> ProcessResult:
    """Compute and publish what was not finished before."""
    n_positions, started = work.plan.n_positions, utc_now()
    work.check_now()
    group = None if work.request.override else work.finished()
    if group is not None:
        workplace.remove()
        return replace(told, outcome=ProcessOutcome.FOUND, group=group, n_kept=n_positions)
    work.refuse_no_room(workplace)
    try:
        n_kept, is_resumed, notes = work.compute(workplace, held)
    except RefusedError as error:
        workplace.remove()
        return replace(told, file=None, reason=str(error))
    except UsidError:
        if not work.is_source_same():
            workplace.remove()
            raise changed(work.request.source) from None
        raise
    group = work.publish(workplace, notes, started, held)
    workplace.remove()
    outcome = ProcessOutcome.RESUMED if is_resumed else ProcessOutcome.COMPUTED
    return replace(told, outcome=outcome, group=group, n_done=n_positions - n_kept, n_kept=n_kept)


@contextmanager
def _claimed(request: Request, workplace: Workplace) -> Iterator[Callable[[], None]]:
    """Hold the claim on a work, and give what raises where it is lost or the run has to end."""
    claims = request.settings.claims
    with Claim(
        request.target.parent, workplace.claim_key,
        run_id=f"process-{secrets.token_hex(4)}",
        renew_s=claims.renew_s, dead_after_s=claims.dead_after_s,
    ) as claim:  # fmt: skip

        def check() -> None:
            request.check()
            claim.check()

        yield check


def _remove_stale(request: Request, work: Work, workplace: Workplace) -> None:
    """Remove what killed runs left of the same Main dataset before it was written anew."""
    for stale in workplace.stale(work.origin):
        with suppress(ClaimedError), _claimed(request, stale):
            stale.remove()


def _workers(request: Request) -> int:
    client = getattr(request.engine, "client", None)
    if client is not None:
        return max(1, sum(int(count) for count in client.nthreads().values()))
    return request.settings.process.workers


def _as_store(request: Request, results: list[ProcessResult]) -> list[ProcessResult]:
    """Make a store of the results file, where it has other groups than the store that is there."""
    if all(each.file is None for each in results):
        return results
    store = request.target.with_suffix(".zarr")
    is_new = any(each.outcome is not ProcessOutcome.FOUND for each in results if each.file)
    if is_new or not store.exists():
        made = convert_file(
            request.target, store, overwrite=True, settings=request.settings,
            engine=request.engine,
        )  # fmt: skip
        store = made.store
    return [each if each.file is None else replace(each, store=store) for each in results]
