"""What the writing of a file may use: workers, memory, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Means:
    """What the writing may use.

    ``memory_bytes`` is for all workers together. ``check`` is called before every box and raises
    where the work has to end; ``advance`` is told the bytes of every box, from several threads.
    """

    workers: int
    memory_bytes: int
    check: Callable[[], None] = lambda: None
    advance: Callable[[int], None] = lambda _: None
