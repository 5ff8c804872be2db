"""Names that stores and file shares can hold, by the documented rule, written anew."""

from __future__ import annotations

import re
import unicodedata

FORBIDDEN = set('/\\:*?"<>|') | {chr(k) for k in range(32)} | {chr(127)}


def percent(character: str) -> str:
    """Return the character as ``%XX`` per UTF-8 byte."""
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8"))


def map_name(original: str, *, no_space: bool = False) -> str:
    """Return the name a store can hold; ``no_space`` for a non-dimension coordinate."""
    if original in ("", "%"):
        return "%25" if original else "%"
    out = []
    for k, character in enumerate(original):
        escape = (
            character in FORBIDDEN
            or (character == "%" and re.match(r"%[0-9A-Fa-f]{2}", original[k:]))
            or (no_space and character.isspace())
            or (k == 0 and original.startswith("__"))
            or (k == len(original) - 1 and character in ". ")
            or (k == 0 and original in ("zarr.json",))
        )
        out.append(percent(character) if escape else character)
    return "".join(out)


class NameBook:
    """The names of one node, as they are given out."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def claim(self, wanted: str) -> str:
        """Return the name, or with ``_2``, ``_3`` where it is taken (NFC, case-folded)."""
        name, count = wanted, 1
        while unicodedata.normalize("NFC", name).casefold() in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(unicodedata.normalize("NFC", name).casefold())
        return name

    def dimensions(self, labels: list[str]) -> list[str]:
        """Return the names of all dimensions of a Main, Position first, in file order."""
        names = [self.claim(map_name(label)) for label in labels]
        return names

    def coordinate(self, label: str) -> str:
        """Return the name of a coordinate that is no dimension."""
        return self.claim(map_name(label, no_space=True))

    def scalar(self, name: str) -> str:
        """Return the name of the scalar coordinate of a dimension of size one."""
        return "".join(percent(c) if c.isspace() else c for c in name)

    def variable(self, original: str) -> str:
        """Return the name of the Main's variable or of one component."""
        return self.claim(map_name(original))
