"""Words of the field as small immutable records, shared by every layer.

Nothing here imports anything but the standard library.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

JSON = Any
"""A value that :func:`json.dumps` writes without help."""

LAYOUT_VERSION = 1
"""Number of the tree layout, stored as ``usid_layout`` at the root of every tree."""


class Severity(StrEnum):
    """How bad a finding is; errors make a Main dataset unsound."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for an error, 1 for a warning, 2 for information."""
        return ("error", "warning", "info").index(self.value)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing found wrong, or worth knowing, in a file: data, not a program error.

    ``id`` is stable (``R1`` to ``R31`` are the rules of the specification), ``path`` is an
    HDF5 path (``/`` for the file as a whole), ``section`` names where the rule comes from.
    """

    id: str
    severity: Severity
    file: str
    path: str
    found: str
    expected: str
    remedy: str
    section: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the finding as a JSON object."""
        return {**asdict(self), "severity": self.severity.value}

    @classmethod
    def from_json(cls, record: dict[str, JSON]) -> Finding:
        """Return the finding that :meth:`to_json` wrote."""
        return cls(**{**record, "severity": Severity(record["severity"])})


class Outcome(StrEnum):
    """What became of one source file in a run."""

    DONE = "done"
    CURRENT = "current"
    OUTDATED = "outdated"
    PARTIAL = "partial"
    NOT_USID = "not USID"
    DEFERRED = "deferred"
    FAILED = "failed"

    @property
    def is_failure(self) -> bool:
        """True where something in the data is wrong or the work failed (exit status 1)."""
        return self in (Outcome.PARTIAL, Outcome.FAILED)


SideName = Literal["position", "spectroscopic"]
