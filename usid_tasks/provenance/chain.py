"""The chain from a result back to its raw file, every fingerprint on the way verified."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from usid_tasks.errors import RefusedError, UnreadableDataError, UsidError
from usid_tasks.file_digests import file_digest
from usid_tasks.model import JSON
from usid_tasks.places import RECEIPT_SUFFIX, STORE_SUFFIX
from usid_tasks.provenance.files import Files, records_in
from usid_tasks.provenance.finding import places
from usid_tasks.provenance.lookup import ResultsGroup, describe_group
from usid_tasks.provenance.records import (
    ATTRIBUTE,
    Record,
    SourceLink,
    stored_record,
)
from usid_tasks.receipts import read_receipt as read_store_receipt
from usid_tasks.verify import verify_paths


class State(StrEnum):
    """What became of one member of a chain, the best first."""

    VERIFIED = "verified"
    MOVED = "moved"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True)
class Link:
    """One member of a chain: a results group, a Main dataset, a file or a store.

    ``depth`` 0 is what was asked about; the sources of a link follow it, one deeper. ``file`` is
    where it lies now, or where it should lie if it is missing. ``detail`` tells what differs, or
    where it was found. ``record`` is that of the run which made it, None for raw data and where
    nothing was recorded; ``tool`` is known without one, too.
    """

    depth: int
    file: str
    path: str
    state: State
    detail: tuple[str, ...] = ()
    tool: str = ""
    record: Record | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the link as a JSON object."""
        return {
            "depth": self.depth,
            "file": self.file,
            "path": self.path,
            "state": self.state.value,
            "detail": list(self.detail),
            "tool": self.tool,
            "record": None if self.record is None else self.record.to_json(),
        }


def is_well(links: Sequence[Link]) -> bool:
    """Return True where every link was verified, wherever it lies now."""
    return all(link.state in (State.VERIFIED, State.MOVED) for link in links)


def chain(file: Path | str, path: str | None = None, *, search: Sequence[Path] = ()) -> list[Link]:
    """Return where results come from, back to the raw data.

    Parameters
    ----------
    file
        An HDF5 file, or a Zarr store made by usid-flows.
    path
        HDF5 path of a results group, or of a dataset in one; by default every results group.
        A dataset that no results group holds is raw: a chain of none.
    search
        Folders that are searched for sources that are neither where they were nor beside the
        results.

    Returns
    -------
    list of Link
        In the order of a tree: each link, then its sources, one deeper.

    Raises
    ------
    RefusedError
        If there is no such file, no such object in it, or no such folder to search.
    FileBusyError, NotHDF5Error
        If the file cannot be opened.
    """
    place = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links as given
    for folder in search:
        if not folder.is_dir():
            raise RefusedError(folder, "there is no such folder", "Correct --search.")
    walk = _Walk(tuple(search))
    if place.is_dir():
        return walk.store(place, path)
    if not place.is_file():
        raise RefusedError(place, "there is no such file", "Correct the path.")
    record = walk.files.record(place)
    if path is None:
        groups = [name for name in record.groups if name != "/"]
    else:
        wanted = "/" + path.strip("/")
        if wanted not in record.groups and wanted not in record.datasets:
            what = f"there is no group and no dataset {wanted}"
            raise RefusedError(place, what, "See `usid inspect`.")
        groups = [walk.files.group_of(place, wanted) or ""]
    return [
        link for group in groups if walk.is_results(place, group)
        for link in walk.group(place, group, 0)
    ]  # fmt: skip


class _Walk:
    """Follows sources from file to file."""

    def __init__(self, search: tuple[Path, ...]) -> None:
        self.search = search
        self.files = Files()
        self._above: list[tuple[Path, str]] = []

    def is_results(self, file: Path, group: str) -> bool:
        record = self.files.record(file)
        if group not in record.groups:
            return False
        has_record = ATTRIBUTE in record.groups[group].attributes.records
        return has_record or describe_group(record, group) is not None

    def group(self, file: Path, group: str, depth: int) -> list[Link]:
        """Return the link of a results group, then its sources."""
        told = describe_group(self.files.record(file), group)
        record, problems = self._recorded(file, group)
        tool = record.tool if record else told.tool if told else ""
        link = Link(depth, str(file), group, State.UNKNOWN, (), tool, record)
        if record is not None:
            problems += self._changed_results(file, group, record)
        if problems:
            link = _with(link, State.CHANGED, *problems)
        elif record is not None:
            link = _with(link, State.VERIFIED)
        else:
            link = _with(link, State.UNKNOWN, "nothing was recorded to verify it by")
        return [link, *self._sources(file, group, record, told, depth + 1)]

    def _sources(
        self,
        file: Path,
        group: str,
        record: Record | None,
        told: ResultsGroup | None,
        depth: int,
    ) -> list[Link]:
        if (file, group) in self._above:
            return [Link(depth, str(file), group, State.CHANGED, ("it is a source of itself",))]
        self._above.append((file, group))
        found: list[Link] = []
        if record is not None:
            for source in record.sources:
                found += self._recorded_source(file, source, depth)
        elif told is not None:
            for dataset in told.sources:
                found += self._told_source(file, told.source_file, dataset, depth)
            for name in told.lost:
                lost = f"{name} leads nowhere: its dataset is gone"
                found.append(Link(depth, str(file), group, State.MISSING, (lost,)))
        self._above.pop()
        return found

    def _recorded(self, file: Path, group: str) -> tuple[Record | None, list[str]]:
        """Return the record of a group, from itself or its receipt, and what is wrong with it."""
        problems: list[str] = []
        held = beside = None
        try:
            held = stored_record(self.files.record(file).groups[group].attributes)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"its record is damaged: {error}")
        try:
            beside = self.files.receipt(file).get(group)
        except UsidError as error:
            problems.append(error.what)
        if held is not None and beside is not None and held != beside:
            problems.append("its record differs from its receipt")
        elif held is None and beside is not None and not problems:
            problems.append("its record is gone; the receipt has it")
        return held or beside, problems

    def _changed_results(self, file: Path, group: str, record: Record) -> list[str]:
        try:
            found = {one.path: one for one in self.files.results(file, group)}
        except UnreadableDataError as error:
            return [error.what]
        problems = []
        for one in record.datasets:
            other = found.pop(one.path, None)
            if other is None:
                problems.append(f"{one.path} is gone")
            elif (one.digest, one.shape, one.dtype) != (other.digest, other.shape, other.dtype):
                problems.append(f"values of {one.path}")
            elif one.fingerprint != other.fingerprint:
                problems.append(f"tables, labels, units or quantity of {one.path}")
        return problems + [f"{name} is new" for name in found]

    def _recorded_source(self, file: Path, source: SourceLink, depth: int) -> list[Link]:
        """Return the link of a source whose fingerprint is known, then where it comes from."""
        candidates = [(file, True)] if not source.file else None
        first: Link | None = None
        for place, is_there in candidates or places(source.file, file.parent, self.search):
            state, detail = self._compare(place, source)
            if state is State.VERIFIED:
                told = () if is_there else (f"recorded as {source.file}",)
                if first is not None:
                    told = (*told, f"another file lies at {first.file}")
                state = State.VERIFIED if is_there else State.MOVED
                return self._followed(Link(depth, str(place), source.dataset, state, told))
            first = first or Link(depth, str(place), source.dataset, state, detail)
        if first is not None:
            return self._followed(first) if first.state is State.CHANGED else [first]
        lost = os.path.normpath(file.parent / source.file)
        searched = f"{source.name} is neither there nor beside {file.name}"
        where = f" nor below {', '.join(map(str, self.search))}" if self.search else ""
        return [Link(depth, lost, source.dataset, State.MISSING, (searched + where,))]

    def _compare(self, place: Path, source: SourceLink) -> tuple[State, tuple[str, ...]]:
        try:
            found = self.files.fingerprint(place, source.dataset)
        except (UsidError, OSError) as error:
            return State.CHANGED, (error.what if isinstance(error, UsidError) else str(error),)
        if found is None:
            return State.MISSING, ("the file has no such Main dataset",)
        differences = source.fingerprint.differences(found)
        return (State.CHANGED if differences else State.VERIFIED), differences

    def _followed(self, link: Link) -> list[Link]:
        """Return a link, then what made it where it is a result itself."""
        file = Path(link.file)
        group = self.files.group_of(file, link.path) if self._is_readable(file) else None
        if group is None:
            return [link]
        return [link, *self.group(file, group, link.depth + 1)]

    def _is_readable(self, file: Path) -> bool:
        try:
            self.files.record(file)
        except (UsidError, OSError):
            return False
        return True

    def _told_source(self, file: Path, source_file: str, dataset: str, depth: int) -> list[Link]:
        """Return the link of a source of which only the path is known."""
        nothing = "nothing was recorded to verify it by"
        candidates = (
            places(source_file, file.parent, self.search) if source_file else [(file, True)]
        )
        for place, is_there in candidates:
            if self._is_readable(place) and dataset in self.files.record(place).datasets:
                told = (nothing,) if is_there else (nothing, f"recorded as {source_file}")
                return self._followed(Link(depth, str(place), dataset, State.UNKNOWN, told))
        lost = os.path.normpath(file.parent / source_file) if source_file else str(file)
        return [Link(depth, lost, dataset, State.MISSING, ("no file with this dataset was found",))]

    def store(self, store: Path, path: str | None) -> list[Link]:
        """Return the links of a Zarr store, then those of its source."""
        if not (store / "zarr.json").is_file():
            what = "is a folder without zarr.json"
            raise RefusedError(store, what, "Name an HDF5 file, or a store made by usid-flows.")
        link = self._store_link(store)
        found = [link]
        records = records_in(store)
        wanted = None if path is None else "/" + path.strip("/")
        for group, record in records.items():
            if wanted is None or wanted == group or wanted.startswith(group + "/"):
                made = Link(1, str(store), group, link.state, link.detail, record.tool, record)
                found += [made]
                for source in record.sources:
                    found += self._source_of_stored(store, records, source)
        if len(found) > 1:
            return found
        if wanted is not None:
            raise RefusedError(store, f"no tool made {wanted}", f"There are: {', '.join(records)}.")
        return [link, *self._source_of_store(store)]

    def _source_of_stored(
        self, store: Path, records: dict[str, Record], source: SourceLink
    ) -> list[Link]:
        if source.file:
            return self._recorded_source(store, source, 2)
        inner = [group for group in records if source.dataset.startswith(group + "/")]
        told = f"in this store, made by {records[inner[-1]].tool}" if inner else "in this store"
        return [Link(2, str(store), source.dataset, State.UNKNOWN, (told,))]

    def _store_link(self, store: Path) -> Link:
        place = store.with_name(store.name.removesuffix(STORE_SUFFIX) + RECEIPT_SUFFIX)
        (verified,) = verify_paths([place])
        state = State.CHANGED if verified.problems else State.VERIFIED
        if not place.is_file():
            state = State.UNKNOWN
        return Link(0, str(store), "/", state, verified.problems, "convert")

    def _source_of_store(self, store: Path) -> list[Link]:
        """Return the link of the file that a store was made of, by its receipt."""
        place = store.with_name(store.name.removesuffix(STORE_SUFFIX) + RECEIPT_SUFFIX)
        try:
            receipt = read_store_receipt(place)
        except UsidError:
            return []
        if receipt is None:
            return []
        source = receipt.source
        recorded = str(receipt.extra.get("source_path") or source.path)
        first: Link | None = None
        for found, is_there in places(recorded, store.parent, self.search):
            digest = file_digest(found)
            if digest == source.digest:
                state = State.VERIFIED if is_there else State.MOVED
                told = () if is_there else (f"recorded as {recorded}",)
                return self._raw(Link(1, str(found), "/", state, told))
            first = first or Link(1, str(found), "/", State.CHANGED, ("bytes of the file",))
        missing = Link(1, recorded, "/", State.MISSING, ("the source file was not found",))
        return self._raw(first) if first is not None else [missing]

    def _raw(self, link: Link) -> list[Link]:
        """Return the link of a whole file, then the results groups in it."""
        file = Path(link.file)
        if not self._is_readable(file):
            return [link]
        names = [name for name in self.files.record(file).groups if name != "/"]
        groups = [name for name in names if self.is_results(file, name)]
        return [link, *(one for group in groups for one in self.group(file, group, link.depth + 1))]


def _with(link: Link, state: State, *detail: str) -> Link:
    return Link(link.depth, link.file, link.path, state, detail, link.tool, link.record)
