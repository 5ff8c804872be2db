"""Rules on the hierarchy and on bookkeeping attributes: R24, R25, R26 and R30.

No file in the wild follows them all: they inform, each once for a file or a group.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from usid_tasks.checks.results import is_results_group
from usid_tasks.checks.rule import INFO, Rule, Violation, listed
from usid_tasks.checks.subjects import JudgedFile, parent_of
from usid_tasks.records import Attributes, FileRecord

MEASUREMENT_DATA = "h5USID, «Measurement data»"

_NESTED = re.compile(r"/Measurement_\d+/Channel_\d+/.")
_TIME_STAMP = re.compile(r"\d{4}_\d{2}_\d{2}-\d{2}_\d{2}_\d{2}")

BOOKKEEPING = {
    "time_stamp": ("time_stamp", "timestamp"),
    "machine_id": ("machine_id",),
    "pyUSID_version": (
        "pyUSID_version",
        "sidpy_version",
        "pycroscopy_version",
        "Pycroscopy version",
    ),
    "platform": ("platform",),
}
"""The mandatory attributes, each with the names under which producers write it."""


def _are_nested(file: JudgedFile) -> Iterator[Violation]:
    odd = [path for path in file.record.candidates if not _NESTED.match(path)]
    if odd:
        yield Violation(file.path, f"elsewhere: {listed(odd)}")


def _groups_above(path: str) -> list[str]:
    """Return the groups that hold ``path``, the root first."""
    parts = path.strip("/").split("/")[:-1]
    return ["/", *("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))]


def _tables_lie_above(file: JudgedFile) -> Iterator[Violation]:
    record = file.record
    users: dict[str, list[str]] = {}
    for path, candidate in record.candidates.items():
        above = _groups_above(path)
        if any(is_results_group(record.groups[group], record) for group in above):
            continue
        homes = {parent_of(table.dataset.path) for table in candidate.ancillaries.values()}
        for home in sorted(homes - set(above)):
            users.setdefault(home, []).append(path)
    for home, paths in users.items():
        yield Violation(home, f"tables used from elsewhere, by {listed(paths)}")


def _holders(record: FileRecord) -> dict[str, Attributes]:
    """Return the attributes of all groups and Main datasets, by path; none without a Main."""
    if not record.candidates:
        return {}
    groups = {path: group.attributes for path, group in record.groups.items()}
    mains = {path: main.dataset.attributes for path, main in record.candidates.items()}
    return {**groups, **mains}


def _bookkeeping(file: JudgedFile) -> Iterator[Violation]:
    holders = _holders(file.record)
    lacking: dict[str, list[str]] = {}
    for path, attributes in holders.items():
        gone = [
            name
            for name, spellings in BOOKKEEPING.items()
            if not any(spelling in attributes.records for spelling in spellings)
        ]
        if gone:
            lacking[path] = gone
    if lacking:
        names = [name for name in BOOKKEEPING if any(name in gone for gone in lacking.values())]
        yield Violation(
            file.path,
            f"{len(lacking)} of {len(holders)} groups and Main datasets lack one or more of "
            f"{', '.join(names)}: {listed(lacking)}",
        )
    odd = [
        f"{stamp!r} at {path}"
        for path, attributes in holders.items()
        for name in BOOKKEEPING["time_stamp"]
        if isinstance(stamp := attributes.values.get(name), str)
        and not _TIME_STAMP.fullmatch(stamp)
    ]
    if odd:
        yield Violation(
            file.path, f"time stamps {listed(odd, most=2)}", "YYYY_MM_DD-HH_mm_ss as a text"
        )


def _is_nested_text(text: str) -> bool:
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    for parse in (json.loads, ast.literal_eval):
        try:
            return isinstance(parse(text), dict)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return False


def _metadata_are_flat(file: JudgedFile) -> Iterator[Violation]:
    odd = []
    for path, attributes in _holders(file.record).items():
        for name, record in attributes.records.items():
            kind = record.get("type")
            value = attributes.values.get(name)
            is_compound = isinstance(kind, dict) and kind.get("class") == "compound"
            if is_compound or (isinstance(value, str) and _is_nested_text(value)):
                odd.append(f"{name} of {path}")
    if odd:
        yield Violation(file.path, f"nested values in {listed(odd)}")


R24 = Rule(
    id="R24",
    severity=INFO,
    title="Main datasets lie in Measurement_00x/Channel_00x",
    why="A recommendation: any hierarchy is read, and kept as it is.",
    section=MEASUREMENT_DATA,
    expected="Main datasets below /Measurement_00x/Channel_00x",
    remedy="nothing needs to be done",
    example="elsewhere: /Scan/Raw_Data",
    find=_are_nested,
)
R25 = Rule(
    id="R25",
    severity=INFO,
    title="Shared tables lie above those who share them",
    why="Tables that two channels use belong into the group above both; in another channel they "
    "are easily lost when it is copied or deleted.",
    section=MEASUREMENT_DATA,
    expected="tables in the group of the Main dataset, or in one above it",
    remedy="keep both groups together when you copy one",
    example="tables used from elsewhere, by /Measurement_000/Channel_001/Raw_Data",
    find=_tables_lie_above,
)
R26 = Rule(
    id="R26",
    severity=INFO,
    title="Groups and Main datasets tell when and by what they were written",
    why="For traceability. Spellings of all known writers count: timestamp for time_stamp, "
    "sidpy_version or pycroscopy_version for pyUSID_version. No known file has them all.",
    section="h5USID, «Attributes»",
    expected="time_stamp, machine_id, pyUSID_version and platform on all groups and Main datasets",
    remedy="nothing needs to be done; whoever writes files: add them",
    example="3 of 4 groups and Main datasets lack one or more of time_stamp, machine_id, "
    "pyUSID_version, platform: /, /Measurement_000, /Measurement_000/Channel_000",
    find=_bookkeeping,
)
R30 = Rule(
    id="R30",
    severity=INFO,
    title="Metadata are flat, «-» between their levels",
    why="HDF5 attributes hold no trees: Instrument-Type, Instrument-Vendor.",
    section="Metadata",
    expected="one plain attribute for each value",
    remedy="nothing needs to be done: attributes are kept as they are",
    example="nested values in Instrument of /Measurement_000",
    find=_metadata_are_flat,
)
