"""Rules on a file as a whole: F1, F3 to F5, and R31 on those who write files."""

from __future__ import annotations

from collections.abc import Iterator

from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation, listed
from usid_tasks.checks.subjects import JudgedFile, JudgedGroup


def _has_a_main(file: JudgedFile) -> Iterator[Violation]:
    if not file.record.candidates:
        datasets = listed(file.record.datasets, most=3)
        found = f"no Main dataset among {datasets}" if datasets else "no dataset at all"
        yield Violation(file.path, found)


def _attributes_can_be_read(file: JudgedFile) -> Iterator[Violation]:
    groups = {path: group.attributes for path, group in file.record.groups.items()}
    datasets = {path: dataset.attributes for path, dataset in file.record.datasets.items()}
    for path, attributes in {**groups, **datasets}.items():
        reasons = [f"{name} ({why})" for name, why in attributes.unreadable.items()]
        if reasons:
            yield Violation(path, f"unreadable: {listed(reasons)}")


def _links_lead_somewhere(judged: JudgedGroup) -> Iterator[Violation]:
    told = []
    for name in judged.group.dangling:
        link = judged.group.links[name]
        target = link["soft"] if "soft" in link else " ".join(link["external"])
        told.append(f"{name} -> {target}")
    if told:
        yield Violation(judged.path, f"leads nowhere: {listed(told)}")


F1 = Rule(
    id="F1",
    severity=ERROR,
    title="HDF5 can open the file",
    why="A file that is no HDF5, was truncated or is damaged holds nothing that can be trusted.",
    section="HDF5",
    expected="an HDF5 file in one piece",
    remedy="restore it from its source, or remove it",
    example="HDF5 cannot open it: Unable to synchronously open file (file signature not found)",
)
F3 = Rule(
    id="F3",
    severity=INFO,
    title="The file holds a Main dataset",
    why="Any HDF5 file can be looked at, but only Main datasets are converted.",
    section="USID model, «Main Datasets»",
    expected="at least one dataset with references to its ancillary datasets",
    remedy="nothing, if the file is not meant as h5USID",
    example="no Main dataset among /picture",
    find=_has_a_main,
)
F4 = Rule(
    id="F4",
    severity=WARNING,
    title="Attributes can be read",
    why="What cannot be read cannot be kept.",
    section="HDF5",
    expected="attributes of a type that HDF5 and h5py read",
    remedy="write the attribute anew",
    example="unreadable: odd (No NumPy equivalent for TypeTimeID exists)",
    find=_attributes_can_be_read,
)
F5 = Rule(
    id="F5",
    severity=INFO,
    title="Links lead somewhere",
    why="A link is kept as it is; what it should lead to is not there.",
    section="HDF5",
    expected="an object at the end of every link",
    remedy="remove the link, or bring back what it leads to",
    example="leads nowhere: old -> /gone",
    find=_links_lead_somewhere,
)
R31 = Rule(
    id="R31",
    severity=ERROR,
    title="Existing datasets are never modified",
    why="It binds whoever writes: no look at a file can tell. Our own writers are tested for it.",
    section="h5USID, «Tool (analysis / processing)»",
    expected="results in new datasets and groups",
    remedy="write results into a group of their own",
    example="(not found by a look at a file)",
)
