r"""One reversible rule for names that a store, xarray or a file share cannot hold.

A name stays verbatim wherever it can. Otherwise, in this order:

1. every byte (UTF-8) of a character that cannot be held becomes ``%XX``: control characters,
   ``/ \ : * ? " < > |``, a ``%`` followed by two hexadecimal digits, a trailing dot or
   space, a lone ``.`` or ``..``, a leading ``__`` (reserved by Zarr), names of Zarr's own
   files and of devices; the empty name becomes ``%``; white space too in coordinates that
   are no dimension (CF lists them separated by spaces);
2. a name longer than 200 bytes keeps its beginning and ends in ``%~`` and 16 hexadecimal
   digits of its BLAKE2 digest;
3. a name already taken beside it (compared in Unicode NFC, case folded) gets ``_2``, ``_3``.

Wherever the result differs, the original stands in the attribute ``usid_name``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

MAX_BYTES = 200

_REMEMBERED = 4096
"""How many names are remembered: files of one instrument have few."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\:*?\"<>|\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")
_SPACE = re.compile(r"\s")
_ZARR_FILES = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=_REMEMBERED)
def encode(name: str, *, keep_spaces: bool = True) -> str:
    """Return ``name`` with all that cannot be held percent-encoded."""
    if name in ("", "%"):
        return "%" if name == "" else "%25"
    safe = _UNSAFE.sub(lambda match: _percent(match[0]), name)
    if not keep_spaces:
        safe = _SPACE.sub(lambda match: _percent(match[0]), safe)
    if safe in (".", ".."):
        safe = _percent(safe)
    elif safe.casefold() in _ZARR_FILES or safe.startswith("__") or _DEVICES.fullmatch(safe):
        safe = _percent(safe[0]) + safe[1:]
    if safe[-1] in ". ":
        safe = safe[:-1] + _percent(safe[-1])
    raw = safe.encode("utf-8")
    if len(raw) <= MAX_BYTES:
        return safe
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return raw[: MAX_BYTES - 18].decode("utf-8", "ignore") + f"%~{digest}"


def decode(safe: str) -> str:
    """Return the name that :func:`encode` was given, shortened names excepted."""
    if safe == "%":
        return ""
    raw = re.sub(
        rb"%([0-9A-Fa-f]{2})",
        lambda match: bytes([int(match[1], 16)]),
        safe.encode("utf-8", "surrogateescape"),
    )
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=_REMEMBERED)
def fold(name: str) -> str:
    """Return what two names share when a case-insensitive file share takes them for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Names:
    """The names taken in one place, handed out so that none meets another.

    ``reserved`` are taken from the start; ``coming`` are names still to be handed out, which no
    numbered name may take from them.
    """

    def __init__(self, reserved: Iterable[str] = (), coming: Iterable[str] = ()) -> None:
        self._taken = {fold(name) for name in reserved}
        self._coming = {fold(encode(name)) for name in coming}

    def take(self, name: str, *, keep_spaces: bool = True) -> str:
        """Return the safe form of ``name``, made distinct, and mark it taken."""
        safe = encode(name, keep_spaces=keep_spaces)
        candidate, number = safe, 1
        while fold(candidate) in self._taken or (number > 1 and fold(candidate) in self._coming):
            number += 1
            candidate = f"{safe}_{number}"
        self._taken.add(fold(candidate))
        return candidate
