"""From where on something in a file is worth a finding."""

from __future__ import annotations

from dataclasses import dataclass

UNIFORM_TOLERANCE = 0.01
"""Largest deviation from a straight line that still counts as uniform, in steps."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From where on something is worth a finding.

    ``uniform_tolerance`` is in steps over a whole axis, the others are sizes in bytes: of one
    HDF5 chunk, and of a Main dataset without compression.
    """

    uniform_tolerance: float = UNIFORM_TOLERANCE
    chunk_min: int = 16 * 1024
    chunk_max: int = 16 * 1024**2
    uncompressed_info: int = 256 * 1024**2
