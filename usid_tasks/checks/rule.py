"""What a rule is, and how its violations become findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from usid_tasks.model import Finding, Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


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


def nowhere(_: object) -> Iterator[Violation]:
    """Yield nothing: for rules that are not found by a look at a record."""
    yield from ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with its stable id and its entry in the documentation.

    ``find`` takes the one kind of record that its list in the registry names, and yields a
    violation for each place where the rule does not hold. ``varies`` says where the severity
    is another one; ``example`` is what a finding reads.
    """

    id: str
    severity: Severity
    title: str
    why: str
    section: str
    expected: str
    remedy: str
    example: str
    varies: str = ""
    find: Callable[[Any], Iterator[Violation]] = nowhere

    def check(self, file: str, subject: object) -> Iterator[Finding]:
        """Yield the findings of this rule on ``subject``; a crash is a finding, not a stop.

        A rule of severity error that could not be checked is an error: what it guards is
        unknown.
        """
        try:
            for violation in self.find(subject):
                yield self.finding(file, violation)
        except Exception as error:  # noqa: BLE001  a broken rule must not hide the others
            found = f"rule {self.id} could not be checked: {type(error).__name__}: {error}"
            severity = ERROR if self.severity is ERROR else WARNING
            path = str(getattr(subject, "path", "/"))
            yield CRASH.finding(file, Violation(path, found, severity=severity))

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


CRASH = Rule(
    id="X1",
    severity=WARNING,
    varies="error where the rule that could not be checked is one",
    title="Every rule can be checked",
    why="A rule that fails on a file must neither hide the other rules nor pass for fulfilled.",
    section="usid-flows",
    expected="a rule that runs on every file",
    remedy="report this file to the developers of usid-flows",
    example="rule R5 could not be checked: ZeroDivisionError: division by zero",
)


def check_all(rules: Iterable[Rule], file: str, subject: object) -> list[Finding]:
    """Return the findings of all rules on one subject, in the order of the rules."""
    return [finding for rule in rules for finding in rule.check(file, subject)]


def is_sound(findings: Iterable[Finding]) -> bool:
    """Return True where no finding is an error."""
    return all(finding.severity is not ERROR for finding in findings)


def listed(items: Iterable[object], *, most: int = 4) -> str:
    """Return items as ``"a, b, c and 5 more"``: a finding stays one sentence."""
    texts = [str(item) for item in items]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more"
