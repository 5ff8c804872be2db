"""Results groups of a Main dataset, never those of another whose name begins alike.

Recorded attributes decide first. Only where a group records no source does its name decide:
exactly ``<Main>-<Tool>_<digits>`` beside the Main dataset. Tools may have ``-``, ``_`` and digits
in their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from usid_tasks.checks.results import sources_of
from usid_tasks.checks.subjects import parent_of
from usid_tasks.records import FileRecord, Group

_NUMBERED = re.compile(r"(.+)_([0-9]+)", re.DOTALL)


@dataclass(frozen=True)
class ResultsGroup:
    """A results group as it tells of itself.

    ``tool`` is as recorded, or else as named; ``index`` what follows the last ``_`` of its name,
    None where that is no number. ``sources`` are HDF5 paths of Main datasets, in the file
    ``source_file`` as recorded, or in the group's own where that is empty. ``lost`` are the
    attributes ``source_000``, ... that lead nowhere.
    """

    path: str
    tool: str
    index: int | None
    sources: tuple[str, ...]
    source_file: str = ""
    lost: tuple[str, ...] = ()


def describe_group(record: FileRecord, path: str) -> ResultsGroup | None:
    """Return what a group tells of its sources, None where it is no results group.

    Parameters
    ----------
    record
        Everything in the file, as :func:`usid_tasks.usid.scan` returns it.
    path
        HDF5 path of a group of it.
    """
    group = record.groups[path]
    told = _told_elsewhere(group)
    if told is not None:
        return _described(group, (told[1],), source_file=told[0])
    references = sources_of(group)
    recorded = tuple(source for source in references.values() if source is not None)
    lost = tuple(name for name, source in references.items() if source is None)
    if recorded or lost:
        return replace(_described(group, recorded), lost=lost)
    named = _source_by_name(record, path)
    return None if named is None else _described(group, (named,))


def results_groups(
    record: FileRecord, main_path: str, tool: str | None = None
) -> list[ResultsGroup]:
    """Return the results groups of a Main dataset by index, then path.

    Parameters
    ----------
    record
        Everything in the file that holds the results: that of the Main dataset, or a results
        file (``read_usid(path).record``).
    main_path
        HDF5 path of the Main dataset, in whichever file it lies.
    tool
        Only those of this tool, exactly.
    """
    wanted = "/" + main_path.strip("/")
    described = [describe_group(record, path) for path in record.groups if path != "/"]
    found = [
        group
        for group in described
        if group is not None and wanted in group.sources and tool in (None, group.tool)
    ]
    return sorted(found, key=lambda group: (group.index is None, group.index or 0, group.path))


def next_results_group(
    record: FileRecord | None, main_path: str, tool: str, *, parent: str | None = None
) -> str:
    """Return the HDF5 path of a new results group: its index is one more than the highest.

    Parameters
    ----------
    record
        Everything in the file that will hold it; None for a file that is not there yet.
    main_path
        HDF5 path of the source.
    tool
        Its name, as it will be recorded.
    parent
        The group that will hold it; by default the path of the group that holds the source.
    """
    above, _, name = ("/" + main_path.strip("/")).rpartition("/")
    parent = (above if parent is None else parent).rstrip("/")
    prefix = f"{name}-{tool}_"
    holder = None if record is None else record.groups.get(parent or "/")
    names = () if holder is None else (*holder.members, *holder.links)
    numbers = [
        int(number)
        for one in names
        if one.startswith(prefix) and re.fullmatch("[0-9]{1,18}", number := one[len(prefix) :])
    ]
    return f"{parent}/{prefix}{max(numbers, default=-1) + 1:03d}"


def _described(group: Group, sources: tuple[str, ...], *, source_file: str = "") -> ResultsGroup:
    name = group.path.rpartition("/")[2]
    numbered = _NUMBERED.fullmatch(name)
    tool = group.attributes.values.get("tool")
    if not isinstance(tool, str) or not tool:
        tool = _tool_by_name(numbered[1] if numbered else name, sources)
    index = int(numbered[2]) if numbered and len(numbered[2]) <= 18 else None
    return ResultsGroup(group.path, tool, index, sources, source_file)


def _tool_by_name(name: str, sources: tuple[str, ...]) -> str:
    """Return what follows the source in the name of a group without its index."""
    for source in sources:
        prefix = source.rpartition("/")[2] + "-"
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name.partition("-")[2]


def _told_elsewhere(group: Group) -> tuple[str, str] | None:
    """Return the file and the dataset that a group names as its source in another file."""
    values = group.attributes.values
    file, dataset = values.get("source_file_path"), values.get("source_dataset_path")
    if not isinstance(dataset, str) or not dataset:
        return None
    return (file if isinstance(file, str) else ""), "/" + dataset.strip("/")


def _source_by_name(record: FileRecord, path: str) -> str | None:
    """Return the dataset beside a group after which it is named, the longest name of several."""
    above, name = parent_of(path).rstrip("/"), path.rpartition("/")[2]
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return None
    stem = numbered[1]
    ends = [at for at, letter in enumerate(stem) if letter == "-" and 0 < at < len(stem) - 1]
    beside = (f"{above}/{stem[:at]}" for at in reversed(ends))
    return next((dataset for dataset in beside if dataset in record.datasets), None)
