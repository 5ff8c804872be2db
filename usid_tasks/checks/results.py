"""Rules on results groups and where results came from: R27, R28, R29 and P1."""

from __future__ import annotations

import re
from collections.abc import Iterator

from usid_tasks.checks.rule import INFO, WARNING, Rule, Violation, listed
from usid_tasks.checks.subjects import JudgedGroup, parent_of
from usid_tasks.records import FileRecord, Group

TOOL = "h5USID, «Tool (analysis / processing)»"
MULTIPLE = "Advanced topics, «Processing on multiple Main datasets»"

_NUMBERED = re.compile(r"(.+-.+)_\d+")
_SOURCE = re.compile(r"source_\d+")
_CERTAIN = ("num_sources", "num_source_dsets", "source_dataset_path")
_MANY = "Multi_Dataset"


def sources_of(group: Group) -> dict[str, str | None]:
    """Return the attributes ``source_000``, ... of a group: paths, None where they lead nowhere."""
    attributes = group.attributes
    return {
        name: value if isinstance(value := attributes.values.get(name), str) else None
        for name in attributes.records
        if _SOURCE.fullmatch(name)
    }


def is_results_group(group: Group, record: FileRecord) -> bool:
    """Return True for a group of results: by its attributes, or named after a dataset beside it."""
    if any(name in group.attributes.records for name in _CERTAIN) or sources_of(group):
        return True
    return any(_beside(group, source) in record.datasets for source in _sources_in_name(group))


def tool_of(group: Group) -> str:
    """Return the name of the tool of a results group, empty if it is not told."""
    for name in ("tool", "algorithm"):
        value = group.attributes.values.get(name)
        if isinstance(value, str):
            return value
    match = _NUMBERED.fullmatch(_name(group))
    return match[1].partition("-")[2] if match else ""


def _sources_in_name(group: Group) -> list[str]:
    """Return what may be the source in the name of a group: a tool, too, may have a «-»."""
    name = _name(group)
    return [name[:at] for at, character in enumerate(name) if character == "-" and at]


def _name(group: Group) -> str:
    return group.path.rpartition("/")[2]


def _beside(group: Group, name: str) -> str:
    return f"{parent_of(group.path).rstrip('/')}/{name}"


def _is_named_after_its_source(judged: JudgedGroup) -> Iterator[Violation]:
    group, record = judged.group, judged.record
    if group.path == "/" or not is_results_group(group, record):
        return
    if _NUMBERED.fullmatch(_name(group)) is None:
        yield Violation(group.path, f"a results group named {_name(group)}")
        return
    told = _sources_in_name(group)
    if told[0] == _MANY or "source_dataset_path" in group.attributes.records:
        return
    sources = [path for path in sources_of(group).values() if path is not None]
    names = {path.rpartition("/")[2] for path in sources}
    if names and not names & set(told):
        found = f"named after {told[0]}, but its source is {listed(sources)}"
        yield Violation(group.path, found)
    elif all(_beside(group, source) not in record.datasets for source in told):
        yield Violation(
            group.path,
            f"no dataset {told[0]} beside the group",
            "results beside their source",
            "nothing needs to be done where the attribute source_000 tells the source",
            severity=INFO if sources else None,
        )


def _tells_its_source(judged: JudgedGroup) -> Iterator[Violation]:
    group = judged.group
    if group.path == "/" or not is_results_group(group, judged.record):
        return
    names = group.attributes.records
    sources = sources_of(group)
    problems = [f"{name} leads nowhere" for name, path in sources.items() if path is None]
    if "tool" not in names and "algorithm" not in names:
        problems.append("neither tool nor algorithm")
    if not sources and "source_dataset_path" not in names:
        problems.append("no source_000")
    counted = [group.attributes.values.get(name) for name in _CERTAIN[:2] if name in names]
    if sources and not counted:
        problems.append("no num_sources")
    if counted and sources and counted[0] not in (len(sources), [len(sources)]):
        problems.append(f"{counted[0]} sources counted, {len(sources)} named")
    if problems:
        yield Violation(group.path, ", ".join(problems))


def _source_in_another_file(judged: JudgedGroup) -> Iterator[Violation]:
    values = judged.group.attributes.values
    names = ("source_file_path", "source_dataset_path")
    told = [name for name in names if name in values]
    if len(told) == 1:
        gone = next(name for name in names if name not in told)
        yield Violation(judged.path, f"{told[0]} without {gone}", severity=WARNING)
    elif told:
        yield Violation(judged.path, f"results of {values[names[1]]} in {values[names[0]]}")


def _has_results(judged: JudgedGroup) -> Iterator[Violation]:
    group = judged.group
    is_empty = not group.members and not group.links
    if is_empty and group.path != "/" and is_results_group(group, judged.record):
        yield Violation(group.path, "a results group that holds nothing")


R27 = Rule(
    id="R27",
    severity=WARNING,
    varies="information where only the place differs and source_000 tells the source",
    title="Results groups are named Source-Tool_00x",
    why="Names alone tell which tool was applied to which dataset; what follows the last «_» is "
    "the index of the run. pyUSID fails on an index that is no number.",
    section=TOOL,
    expected="a group Source-Tool_00x beside its source",
    remedy="rename the group after its source and its tool",
    example="a results group named Raw_Data-Fit_last",
    find=_is_named_after_its_source,
)
R28 = Rule(
    id="R28",
    severity=WARNING,
    title="Results tell their tool and their sources",
    why="The reference survives where a name does not. tool or algorithm, and num_sources or "
    "num_source_dsets, are the same to us.",
    section=f"{TOOL}; {MULTIPLE}",
    expected="tool or algorithm, num_sources, and source_000 as a reference to the source",
    remedy="add the attributes to the results group",
    example="neither tool nor algorithm, no source_000",
    find=_tells_its_source,
)
R29 = Rule(
    id="R29",
    severity=INFO,
    varies="warning where one of the two attributes is missing",
    title="Results in another file name their source",
    why="A reference does not reach into another file: source_file_path and "
    "source_dataset_path take its place.",
    section="Advanced topics, «Provenance over multiple HDF5 files»",
    expected="both attributes, or a source in the same file",
    remedy="keep both files together",
    example="results of /Measurement_000/Channel_000/Raw_Data in source.h5",
    find=_source_in_another_file,
)
P1 = Rule(
    id="P1",
    severity=INFO,
    title="Results groups hold results",
    why="A run that broke off before it wrote anything leaves an empty group.",
    section=TOOL,
    expected="at least one dataset",
    remedy="run the tool again, or remove the group",
    example="a results group that holds nothing",
    find=_has_results,
)
