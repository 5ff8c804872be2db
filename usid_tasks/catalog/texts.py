"""Text as both databases can hold it."""

from __future__ import annotations

LONGEST = 1000
"""Characters that are kept of an attribute's value."""

LONGEST_NAME = 200
"""Characters that are kept of an attribute's name: a line of PostgreSQL's indexes is short."""


def storable(text: object) -> str:
    """Return text without zero characters and lone surrogates: they become their escapes."""
    told = str(text)
    if told.isascii() and "\0" not in told:
        return told
    return told.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return text cut to a number of characters, its end told by an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
