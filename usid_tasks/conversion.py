"""One h5USID file to one Zarr store: read, judged, written, read back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from usid_tasks.chunks import BlockLimits
from usid_tasks.errors import FileBusyError, NoMainDatasetError, UnreadableDataError
from usid_tasks.intents import parse_intent
from usid_tasks.mains import Main
from usid_tasks.model import Finding, Outcome, Severity
from usid_tasks.plans import Plan
from usid_tasks.readback import check_cells, make_ready
from usid_tasks.receipts import MainRecord
from usid_tasks.settings import Settings
from usid_tasks.stores.zarr import (
    PlannedStore,
    StoreOptions,
    WrittenArray,
    metadata_digest,
    plan_store,
    write_store,
)
from usid_tasks.tree import Node, Tree, build_tree
from usid_tasks.usid import UsidFile, read_usid
from usid_tasks.validate import findings_of, thresholds_from
from usid_tasks.workers import Counted, Engine


@dataclass(frozen=True)
class Converted:
    """What became of one file, before anything is published.

    ``elsewhere`` are the other files that virtual and external datasets take values from;
    ``counted`` is what this run did of the ``plan``.
    """

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    arrays: Mapping[str, WrittenArray]
    mains: tuple[MainRecord, ...]
    metadata_digest: str | None = None
    elsewhere: tuple[str, ...] = ()
    plan: Plan | None = None
    counted: Counted | None = None


def changed(path: Path) -> FileBusyError:
    """Return the error of a source that did not stay as it was while it was read."""
    return FileBusyError(path, "it changed while it was read", "Try again when the writer is done.")


def limits_of(settings: Settings) -> BlockLimits:
    """Return the limits on blocks that the settings give."""
    read = settings.read
    return BlockLimits(read.block_min, read.block_max, read.block_target)


def options_of(settings: Settings) -> StoreOptions:
    """Return how a store is written under the settings."""
    convert = settings.convert
    return StoreOptions(
        intent=parse_intent(convert.intent),
        chunk_bytes=convert.chunk,
        shard_bytes=convert.shard_max,
        codec=convert.codec,
        level=convert.codec_level,
        objective=convert.objective,
        workers=convert.threads,
        memory_bytes=convert.memory,
        resume_bytes=convert.resume_from,
    )


def _tables_of(main: Main) -> set[str]:
    return {
        path
        for side in (main.position, main.spectroscopic)
        for path in (side.indices_path, side.values_path)
    }


def select_mains(tree: Tree, wanted: Sequence[str]) -> Tree:
    """Return the tree with only the named Main datasets, their tables and the groups above.

    Raises
    ------
    NoMainDatasetError
        If one of them is no sound Main dataset of the file.
    """
    mains = {node.hdf5_path: node for node in tree.nodes.values() if node.main is not None}
    paths = {"/" + path.strip("/") for path in wanted}
    for path in sorted(paths - set(mains)):
        raise NoMainDatasetError(
            f"{tree.file.path}:{path}",
            f"no sound Main dataset; there are {', '.join(mains) or 'none'}",
            "Choose one of these, or run usid validate on the file.",
        )
    kept = set(paths)
    for path in paths:
        main = mains[path].main
        assert main is not None, "only Main datasets were chosen"
        kept |= _tables_of(main)

    def is_kept(node: Node) -> bool:
        prefix = node.hdf5_path.rstrip("/") + "/"
        return node.hdf5_path in kept or any(path.startswith(prefix) for path in kept)

    nodes = {path: node for path, node in tree.nodes.items() if is_kept(node)}
    return replace(tree, nodes=nodes)


def _unreadable(error: UnreadableDataError, file: str) -> Finding:
    return Finding(
        "F2", Severity.ERROR, file, error.dataset, error.what,
        "values that HDF5 can read and decode", error.remedy, "HDF5",
    )  # fmt: skip


def _without(tree: Tree, dataset: str) -> Tree:
    nodes = {path: node for path, node in tree.nodes.items() if node.hdf5_path != dataset}
    return replace(tree, nodes=nodes)


def _main_records(
    usid_file: UsidFile, tree: Tree, findings: Sequence[Finding]
) -> tuple[MainRecord, ...]:
    errors: dict[str, list[str]] = {}
    for finding in findings:
        if finding.severity is Severity.ERROR:
            errors.setdefault(finding.path, []).append(f"{finding.id}: {finding.found}")
    stored = {node.hdf5_path: node for node in tree.nodes.values() if node.main is not None}
    records = []
    for path, candidate in usid_file.record.candidates.items():
        node = stored.get(path)
        if node is None:
            tables = [table.dataset.path for table in candidate.ancillaries.values()]
            reasons = [reason for place in (path, *tables) for reason in errors.get(place, [])]
            reason = "; ".join(dict.fromkeys(reasons)) or "not asked for"
            outcome = Outcome.FAILED if reasons else Outcome.NOT_USID
            if reasons:
                records.append(MainRecord(path=path, outcome=outcome, reason=reason))
            continue
        main = node.main
        assert main is not None, "stored nodes of candidates are Main datasets"
        arrays = [v for v in node.variables.values() if v.attrs.get("usid_role") == "main"]
        records.append(
            MainRecord(
                path=path,
                outcome=Outcome.DONE,
                quantity=main.quantity,
                units=main.units,
                dtype=str(candidate.dataset.dtype),
                dims=arrays[0].dims,
                shape=main.shape,
            )
        )
    return tuple(records)


@dataclass(frozen=True)
class Opened:
    """A file that was read as far as its metadata: what it holds and what is wrong with it."""

    file: UsidFile
    tree: Tree
    findings: tuple[Finding, ...]

    @property
    def has_mains(self) -> bool:
        """Whether there is a sound Main dataset to write."""
        return any(node.main is not None for node in self.tree.nodes.values())

    def without(self, error: UnreadableDataError) -> Opened:
        """Return it without a dataset whose values cannot be read."""
        finding = _unreadable(error, str(self.file.path))
        return replace(
            self, tree=_without(self.tree, error.dataset), findings=(*self.findings, finding)
        )


def open_source(path: Path, *, settings: Settings, datasets: Collection[str] = ()) -> Opened:
    """Read a file as far as its metadata, and judge it.

    Raises
    ------
    FileBusyError, NotHDF5Error, OSError
        If the source cannot be opened.
    NoMainDatasetError
        If one of ``datasets`` is no sound Main dataset.
    """
    usid_file = read_usid(path, tolerance=settings.validate.uniform_tolerance)
    findings = list(findings_of(usid_file, thresholds_from(settings)))
    tree = build_tree(usid_file, limits=limits_of(settings))
    findings += [_unreadable(error, str(path)) for error in tree.unreadable]
    if datasets:
        tree = select_mains(tree, list(datasets))
    return Opened(usid_file, tree, tuple(findings))


def convert_to(
    path: Path,
    folder: Path,
    *,
    settings: Settings,
    datasets: Collection[str] = (),
    journal: Path | None = None,
    engine: Engine | None = None,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int], None] = lambda _: None,
    begin: Callable[[int], None] = lambda _: None,
    approve: Callable[[PlannedStore], None] = lambda _: None,
) -> Converted:
    """Convert one file into a folder, and verify it.

    Parameters
    ----------
    path, folder
        The source, and the store to make: not there, or what a killed run of the same work left.
        No store is made where no Main dataset is sound.
    settings
        The merged configuration.
    datasets
        Paths of the Main datasets to take; all if empty.
    journal, engine, check
        Those of :func:`usid_tasks.stores.zarr.write_store`.
    begin, advance
        Told the bytes of all arrays, then those of every block written (from several threads).
    approve
        Given the plan before anything is written; raises where it is not to be done.

    Raises
    ------
    FileBusyError, NotHDF5Error, OSError
        If the source cannot be opened.
    NoMainDatasetError
        If one of ``datasets`` is no sound Main dataset.
    RefusedError
        If the memory does not suffice.
    VerificationError
        If the store does not read back as the source.
    """
    opened = open_source(path, settings=settings, datasets=datasets)
    arrays: dict[str, WrittenArray] = {}
    plan, counted = None, None
    while opened.has_mains:
        planned = plan_store(opened.tree, options_of(settings))
        approve(planned)
        begin(planned.size_bytes)
        make_ready()
        try:
            arrays, counted = write_store(
                planned, folder, journal=journal, engine=engine, check=check, advance=advance
            )
            plan = planned.plan
            break
        except UnreadableDataError as error:
            opened = opened.without(error)
            for made in (folder, journal):
                if made is not None:
                    shutil.rmtree(made, ignore_errors=True)
    for place, node in opened.tree.nodes.items():
        if node.main is not None and arrays:
            check_cells(
                path, node.hdf5_path, folder, place,
                n_cells=settings.convert.verify_cells, seed=crc32(place.encode()),
            )  # fmt: skip
    usid_file, findings = opened.file, opened.findings
    records = _main_records(usid_file, opened.tree, findings)
    outcome, reason = _outcome(records, findings)
    elsewhere = {
        part.file
        for dataset in usid_file.record.datasets.values()
        for part in dataset.storage.elsewhere
    }
    return Converted(
        outcome,
        reason,
        findings,
        arrays,
        records,
        metadata_digest(folder) if arrays else None,
        tuple(sorted(elsewhere)),
        plan,
        counted,
    )


def _outcome(mains: Sequence[MainRecord], findings: Sequence[Finding]) -> tuple[Outcome, str]:
    """Return what the file as a whole came to; an error beside sound Mains makes it partial."""
    if not mains:
        return Outcome.NOT_USID, "HDF5 without a Main dataset"
    broken = [main for main in mains if main.outcome is Outcome.FAILED]
    told = "; ".join(f"{main.path} {main.reason}" for main in broken[:3])
    if len(broken) > 3:
        told += f"; and {len(broken) - 3} more"
    if len(broken) == len(mains):
        return Outcome.FAILED, f"no sound Main dataset: {told}"
    if broken:
        return Outcome.PARTIAL, f"{len(broken)} of {len(mains)} Main datasets broken: {told}"
    elsewhere = [finding for finding in findings if finding.severity is Severity.ERROR]
    if elsewhere:
        first = elsewhere[0]
        return Outcome.PARTIAL, f"{first.path} {first.id}: {first.found}"
    return Outcome.DONE, ""
