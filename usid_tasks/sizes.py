"""Sizes in bytes as people write and read them: ``"4 MiB"``."""

from __future__ import annotations

import re
from fractions import Fraction

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("kB", "MB", "GB", "TB", "PB", "EB")
_FACTORS = {
    **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY)},
    **{unit.lower(): 1000**power for power, unit in enumerate(_DECIMAL, start=1)},
    "": 1,
}
_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


def parse_size(size: object) -> int:
    """Return the number of bytes that a size means.

    Parameters
    ----------
    size
        Bytes as an integer, or text such as ``"4 MiB"`` (1024-based), ``"4 MB"`` (1000-based)
        or ``"4096"``. Case and the blank between number and unit do not matter.

    Returns
    -------
    int
        Bytes, zero or more.

    Raises
    ------
    ValueError
        Where the text is no size, is negative, or means a fraction of a byte. A unit without
        its B ("4G") is refused too, since it means both 1000 and 1024.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        if size < 0:
            raise ValueError(f"a size of zero bytes or more, not {size}")
        return size
    match = _PATTERN.fullmatch(size.strip()) if isinstance(size, str) else None
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError('a size such as "4 MiB" (1024-based), "4 MB" (1000-based) or 4096 (bytes)')
    size_bytes = Fraction(match[1]) * factor
    if size_bytes.denominator != 1:
        raise ValueError(f"a whole number of bytes, not {float(size_bytes):g}")
    return int(size_bytes)


def format_size(size_bytes: int) -> str:
    """Return a size for people, rounded to a tenth of its unit: ``"4.0 GiB"``.

    Bytes below one KiB stay whole: ``"512 B"``.
    """
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min((size_bytes.bit_length() - 1) // 10, len(_BINARY) - 1)
    if power + 1 < len(_BINARY) and round(size_bytes / 1024**power, 1) >= 1024:
        power += 1
    return f"{size_bytes / 1024**power:.1f} {_BINARY[power]}"


def exact_size(size_bytes: int) -> str:
    """Return a size that :func:`parse_size` reads back to the byte: ``"4 MiB"``."""
    power = 0
    while size_bytes and power + 1 < len(_BINARY) and size_bytes % 1024 == 0:
        size_bytes //= 1024
        power += 1
    return f"{size_bytes} {_BINARY[power]}"
