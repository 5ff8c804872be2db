"""Chunks by what will be read from them: whole spectra, whole images, or both alike."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from usid_tasks.errors import RefusedError

INTENTS = ("spectra", "images", "balanced")
"""Intents that have a name; others are extents, ``"Y=16,X=16,Bias=-1"``."""

_EXTENT = re.compile(r"\s*(.+?)\s*=\s*(-?\d+)\s*(?:,|$)")


@dataclass(frozen=True)
class Intent:
    """What a store is for: a name of :data:`INTENTS`, or extents of chunks by dimension."""

    name: str = ""
    extents: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.name or ",".join(f"{dim}={extent}" for dim, extent in self.extents)

    def unknown(self, dims: Sequence[str]) -> list[str]:
        """Return the dimensions named that are none of ``dims``."""
        return [dim for dim, _ in self.extents if dim not in dims]


@dataclass(frozen=True)
class Touch:
    """What one reading takes: chunks that are decoded, and their decoded bytes."""

    chunks: int
    size_bytes: int


def parse_intent(text: str) -> Intent:
    """Return the intent that a person wrote.

    Raises
    ------
    RefusedError
        If it is neither a name nor a list of extents.
    """
    if text in INTENTS:
        return Intent(text)
    found = list(_EXTENT.finditer(text))
    extents = {match[1]: int(match[2]) for match in found}
    is_whole = "".join(match[0] for match in found) == text
    if not found or not is_whole or len(extents) != len(found):
        raise RefusedError(
            "intent", f"{text!r} is no intent", f"Use {', '.join(INTENTS)} or Y=16,X=16,Bias=-1."
        )
    for dim, extent in extents.items():
        if extent < 1 and extent != -1:
            raise RefusedError(
                "intent", f"{dim}={extent}, expected 1 or more, or -1", "Write -1 for the whole."
            )
    return Intent("", tuple(extents.items()))


def chunk_for(
    intent: Intent,
    shape: Sequence[int],
    dims: Sequence[str],
    is_position: Sequence[bool],
    *,
    itemsize: int,
    chunk_bytes: int,
) -> tuple[int, ...]:
    """Return the chunk that serves an intent: edges are powers of two, or whole dimensions.

    Parameters
    ----------
    intent
        ``spectra`` takes the Spectroscopic dimensions as far as ``chunk_bytes`` goes, and
        positions with what is left; ``images`` the reverse; ``balanced`` lets a point spectrum
        and an image touch a similar number of chunks. Extents are taken as given, and
        dimensions not named as ``balanced`` does.
    shape, dims, is_position
        Of the array; which dims are Position dimensions.
    itemsize, chunk_bytes
        Bytes of a cell, and of a chunk at most (given extents may exceed it).
    """
    given = dict(intent.extents)
    edges = [1] * len(shape)
    for dim, (name, size) in enumerate(zip(dims, shape, strict=True)):
        if name in given:
            edges[dim] = size if given[name] == -1 else min(given[name], size)
    free = [dim for dim, name in enumerate(dims) if name not in given]
    while True:
        cells = math.prod(edges)
        open_dims = [
            dim
            for dim in free
            if edges[dim] < shape[dim]
            and cells // edges[dim] * min(2 * edges[dim], shape[dim]) * itemsize <= chunk_bytes
        ]
        if not open_dims:
            return tuple(edges)
        first = _first_side(intent.name, shape, edges, is_position)
        # of the side that comes first the smallest edge, of equal ones the fastest dimension
        grown = min(open_dims, key=lambda dim: (is_position[dim] != first, edges[dim], -dim))
        edges[grown] = min(2 * edges[grown], shape[grown])


def _first_side(
    name: str, shape: Sequence[int], edges: Sequence[int], is_position: Sequence[bool]
) -> bool:
    """Return whether positions are to be taken together first, rather than spectra."""
    if name in ("spectra", "images"):
        return name == "images"
    spectrum, image = reads(shape, edges, is_position, itemsize=1)
    return image.chunks > spectrum.chunks


def reads(
    shape: Sequence[int], chunk: Sequence[int], is_position: Sequence[bool], *, itemsize: int
) -> tuple[Touch, Touch]:
    """Return what one point spectrum and one image touch."""
    chunk_bytes = math.prod(chunk) * itemsize
    counts = {True: 1, False: 1}
    for size, edge, of_position in zip(shape, chunk, is_position, strict=True):
        counts[of_position] *= -(-size // edge)
    spectrum, image = counts[False], counts[True]
    return Touch(spectrum, spectrum * chunk_bytes), Touch(image, image * chunk_bytes)
