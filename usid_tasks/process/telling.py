"""How far a run has come: positions, and how many of them in a second."""

from __future__ import annotations

from typing import Protocol


class PositionProgress(Protocol):
    """What a run tells about itself; every method may be called from any thread."""

    def begin(self, step: str, *, positions: int | None = None) -> None:
        """Start a step ("svd: R factor") and end the one before; so many positions are in it."""

    def advance(self, *, positions: int = 0) -> None:
        """Tell how many positions were done since the last call."""

    def note(self, line: str) -> None:
        """Show one line of text that stays."""


class Silence:
    """Progress that tells nobody."""

    def begin(self, step: str, *, positions: int | None = None) -> None:
        """Do nothing."""

    def advance(self, *, positions: int = 0) -> None:
        """Do nothing."""

    def note(self, line: str) -> None:
        """Do nothing."""


class Steps:
    """Turns positions done in named steps into calls of a progress."""

    def __init__(self, progress: PositionProgress, tool: str, n_positions: int) -> None:
        self._progress, self._tool, self._n_positions = progress, tool, n_positions
        self._step: str | None = None

    def advance(self, step: str, positions: int) -> None:
        """Tell of positions done in a step; another name begins another step."""
        if step != self._step:
            self._step = step
            label = f"{self._tool}: {step}" if step else self._tool
            self._progress.begin(label, positions=self._n_positions)
        self._progress.advance(positions=positions)
