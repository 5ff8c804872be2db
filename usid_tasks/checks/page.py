"""The page that documents every rule, made from the rules themselves."""

from __future__ import annotations

from collections.abc import Iterator

from usid_tasks.checks.registry import RULES
from usid_tasks.checks.rule import Rule

_HEAD = """\
# Validation rules

Made by `python -m usid_tasks.checks`; do not edit.

`usid validate` tells where a file departs from the h5USID specification
(<https://pycroscopy.github.io/USID/>), and where its data need care. A finding has an id that
never changes and a severity:

- **error**: the Main dataset has no meaning that could be relied on. It is reported, and not
  converted; the sound Main datasets of the same file are.
- **warning**: understood, but likely to mislead a person or another program.
- **information**: worth knowing.

R1 to R31 are the rules of the specification; A is about axes, F about files, N about names, P
about provenance, S about storage, X about the rules themselves. `--select R7` tells only one
rule, `--ignore R26` all but one, `--severity warning` leaves out information.
"""


def rules_page() -> str:
    """Return the page in Markdown."""
    return "".join([_HEAD, *_table(), *(part for rule in RULES for part in _entry(rule))])


def _table() -> Iterator[str]:
    yield "\n| id | severity | rule |\n|-|-|-|\n"
    for rule in RULES:
        yield f"| [{rule.id}](#{rule.id.lower()}) | {rule.severity} | {rule.title} |\n"


def _entry(rule: Rule) -> Iterator[str]:
    yield f'\n<a id="{rule.id.lower()}"></a>\n\n## {rule.id}: {rule.title}\n\n{rule.why}\n\n'
    severity = f"{rule.severity}; {rule.varies}" if rule.varies else str(rule.severity)
    for name, text in (
        ("Severity", severity),
        ("Section", rule.section),
        ("Expected", rule.expected),
        ("What to do", rule.remedy),
        ("Example", f"`{rule.example}`"),
    ):
        yield f"- {name}: {text}\n"
