"""Where a source's store and receipt lie in DEST, and which names can share one destination."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from usid_tasks.errors import RefusedError

STORE_SUFFIX = ".zarr"
RECEIPT_SUFFIX = ".receipt.json"
_LONGEST_NAME_BYTES = 255 - len(RECEIPT_SUFFIX)


def store_path(dest: Path, key: str) -> Path:
    """Return ``DEST/<key>.zarr`` for a source's ``/``-path."""
    return _place(dest, key, STORE_SUFFIX)


def receipt_path(dest: Path, key: str) -> Path:
    """Return ``DEST/<key>.receipt.json`` for a source's ``/``-path."""
    return _place(dest, key, RECEIPT_SUFFIX)


def _place(dest: Path, key: str, suffix: str) -> Path:
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{key!r} is not a plain relative path")
    return dest.joinpath(*parts[:-1], parts[-1] + suffix)


def utf8_name(name: str) -> str:
    r"""Return a file name as text for JSON and terminals: bytes that are none read ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def folded(key: str) -> str:
    """Return what a file system that ignores case and Unicode form makes of a path."""
    if key.isascii():
        return key.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold())


def unusable_name(key: str) -> str:
    """Return why no store can have a file's name, or nothing."""
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            return "its name is not valid UTF-8: rename it (`convmv` does)"
    n_bytes = len(key.rpartition("/")[2].encode())
    if n_bytes > _LONGEST_NAME_BYTES:
        return (
            f"its name has {n_bytes} bytes, expected at most {_LONGEST_NAME_BYTES} "
            "(its receipt's name is longer): rename it"
        )
    return ""


def refuse_clashes(found: Sequence[tuple[str, Path]]) -> None:
    """Raise unless every file has a store and a receipt of its own on any file system.

    Parameters
    ----------
    found
        Key and path of each file.

    Raises
    ------
    RefusedError
        If two keys are equal after NFC and case folding, or a store or a receipt would have the
        name of a folder that holds another.
    """
    places: dict[str, Path] = {}
    for key, path in found:
        other = places.setdefault(folded(key), path)
        if other is not path:
            raise _clash(other, path)
    for key, path in found:
        above = folded(key).rpartition("/")[0]
        while above:
            for suffix in (STORE_SUFFIX, RECEIPT_SUFFIX):
                if above.endswith(suffix) and above.removesuffix(suffix) in places:
                    raise _clash(places[above.removesuffix(suffix)], path)
            above = above.rpartition("/")[0]


def _clash(one: Path, two: Path) -> RefusedError:
    return RefusedError(
        utf8_name(str(two)),
        f"would share the store of {utf8_name(str(one))} "
        "(names are compared as a share that ignores case and Unicode form does)",
        "Rename one of them, or give their folders names of their own: NAME=PATH.",
    )
