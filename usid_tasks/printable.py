"""Text from files and file names, made safe for a terminal."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""Return the text on one line, with whatever cannot be shown escaped (``\n``, ``\x1b``).

    A file's attributes and names may hold line ends, terminal sequences, or bytes that are no
    text at all; none of them may move a cursor or break a column.
    """
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in str(text)
    )
