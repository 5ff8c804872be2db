"""What a rule is, and how its violations become findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from usid_tasks.model import Finding, Severity


@dataclass(frozen=True)
class Violation:
    """One place where a rule does not hold.

    ``severity``, ``expected`` and ``remedy`` replace those of the rule where the case differs.
    """

    path: str
    found: str
    expected: str = ""
    remedy: str = ""
    severity: Severity | None = None


@dataclass(frozen=True)
class Rule:
    """A rule with its stable id; ``find`` yields a violation wherever it does not hold.

    ``find`` takes the one kind of record that its list in the registry names.
    """

    id: str
    severity: Severity
    title: str
    section: str
    expected: str
    remedy: str
    find: Callable[[Any], Iterator[Violation]]

    def check(self, file: str, subject: object) -> Iterator[Finding]:
        """Yield the findings of this rule on ``subject``; a crash is a finding, not a stop."""
        try:
            for violation in self.find(subject):
                yield self.finding(file, violation)
        except Exception as error:  # noqa: BLE001  a broken rule must not hide the others
            yield Finding(
                "X1", Severity.WARNING, file, getattr(subject, "path", "/"),
                f"rule {self.id} could not be checked: {type(error).__name__}: {error}",
                "a rule that runs on every file", "report this file to the developers of usid-flows",
            )  # fmt: skip

    def finding(self, file: str, violation: Violation) -> Finding:
        """Return ``violation`` as a finding of this rule."""
        return Finding(
            id=self.id,
            severity=violation.severity or self.severity,
            file=file,
            path=violation.path,
            found=violation.found,
            expected=violation.expected or self.expected,
            remedy=violation.remedy or self.remedy,
            section=self.section,
        )
