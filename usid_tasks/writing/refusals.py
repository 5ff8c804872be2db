"""What keeps a signal from being written: told before a byte is."""

from __future__ import annotations

from usid_tasks.errors import RefusedError


class UnwritableError(RefusedError, ValueError):
    """The signal, or an option, is nothing that an h5USID file can hold."""
