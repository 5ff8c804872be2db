"""The codecs that a store can have and how one is chosen, by the names that people write."""

from __future__ import annotations

from typing import Literal, get_args

AUTO = "auto"
"""What stands for a codec that is chosen by measurement."""

Objective = Literal["fast", "balanced", "small"]

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""What a codec is chosen for by measurement."""

_BLOSC_LEVELS = (0, 5, 9)
_LEVELS = {
    "none": (0, 0, 0),
    "zstd": (0, 3, 22),
    **{
        f"blosc-{inner}{shuffle}": _BLOSC_LEVELS
        for inner in ("lz4", "zstd")
        for shuffle in ("", "-bitshuffle", "-noshuffle")
    },
}

AUTO = "auto"
"""Stands for the codec that is chosen by measurement."""

CODEC_NAMES = tuple(_LEVELS)
"""Codecs that every standard install of zarr-python reads."""


def level_of(name: str, level: int | None = None) -> int:
    """Return the level that a codec is used at.

    Parameters
    ----------
    name
        One of :data:`CODEC_NAMES`.
    level
        The effort, higher is smaller and slower; None for the codec's own default. The codec
        ``none`` has no level, so that any is taken and 0 returned.

    Raises
    ------
    ValueError
        If there is no such codec, or it has no such level.
    """
    if name not in _LEVELS:
        raise ValueError(f"a codec: {', '.join(CODEC_NAMES)}; not {name!r}")
    least, usual, most = _LEVELS[name]
    if level is None or name == "none":
        return usual
    if not least <= level <= most:
        raise ValueError(f"a level of {least} to {most} for the codec {name}, not {level}")
    return level
