"""All rules, in explicit lists by what they look at. A new rule is added here, nowhere else."""

from __future__ import annotations

from usid_tasks.checks import (
    files,
    groups,
    labels,
    main_datasets,
    names,
    order,
    results,
    storage,
    tables,
    values,
)
from usid_tasks.checks.rule import CRASH, Rule

CANDIDATE_RULES = (
    main_datasets.R1,
    main_datasets.R2,
    main_datasets.R3,
    main_datasets.R4,
    tables.R7,
    tables.R8,
    labels.R9,
    labels.R10,
    labels.R11,
    labels.R12,
    tables.R19,
    tables.F2,
    storage.S4,
)
"""On a :class:`~usid_tasks.checks.subjects.Judged`: decide, with the next, what is sound."""

TABLE_RULES = (tables.F2_READ, order.R14_FINITE)
"""On a :class:`~usid_tasks.checks.subjects.JudgedTables`, once no candidate rule was broken."""

DATASET_RULES = (
    main_datasets.R5,
    storage.R6,
    tables.R13,
    labels.R18,
    tables.R23,
    storage.S1,
    storage.S2,
    storage.S3,
    storage.S5,
)
"""On a :class:`~usid_tasks.checks.subjects.Judged`, sound or not; never errors."""

SIDE_RULES = (
    order.R14,
    order.R15,
    order.R16,
    values.R17,
    tables.R20,
    order.R21,
    order.R22,
    values.A1,
    values.A2,
    values.A3,
    values.A4,
)
"""On a :class:`~usid_tasks.checks.subjects.JudgedSide` of a sound Main dataset; never errors."""

GROUP_RULES = (results.R27, results.R28, results.R29, files.F5, results.P1)
"""On a :class:`~usid_tasks.checks.subjects.JudgedGroup`; never errors."""

FILE_RULES = (
    groups.R24,
    groups.R25,
    groups.R26,
    groups.R30,
    files.F3,
    files.F4,
    main_datasets.F6,
    names.N1,
    storage.S4_OTHERS,
)
"""On a :class:`~usid_tasks.checks.subjects.JudgedFile`; never errors."""

OTHER_RULES = (files.F1, files.R31, CRASH)
"""Found by opening a file, by testing writers, and by a rule that crashes."""


def sort_key(rule_id: str) -> tuple[str, int]:
    """Return what sorts the rules of the specification first, and R2 before R10."""
    letters = rule_id.rstrip("0123456789")
    return ("" if letters == "R" else letters, int(rule_id[len(letters) :] or 0))


def _distinct() -> tuple[Rule, ...]:
    lists = (
        CANDIDATE_RULES,
        TABLE_RULES,
        DATASET_RULES,
        SIDE_RULES,
        GROUP_RULES,
        FILE_RULES,
        OTHER_RULES,
    )
    by_id: dict[str, Rule] = {}
    for rule in (rule for rules in lists for rule in rules):
        if rule not in (tables.F2_READ, order.R14_FINITE, storage.S4_OTHERS):  # second parts
            by_id.setdefault(rule.id, rule)
    return tuple(by_id[rule_id] for rule_id in sorted(by_id, key=sort_key))


RULES = _distinct()
"""One entry for each id: those of the specification, then our own."""
