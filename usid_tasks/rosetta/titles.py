"""What signals are called: the dataset's name, and what tells those apart that share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from usid_tasks.printable import printable


@dataclass(frozen=True)
class Named:
    """What a title is made of.

    ``component`` is empty unless the dataset makes several signals; ``title`` is that of the
    signal which the dataset was written from, if it had one.
    """

    path: str
    component: str
    quantity: str
    title: str = ""

    def titles(self) -> tuple[str, ...]:
        """Return the titles that may be taken, the shortest first, the last the most precise."""
        group, _, name = self.path.rpartition("/")
        name = self.title or name
        what = self.component or self.quantity
        found = [self.component or name]
        for where in (group.rpartition("/")[2], group.strip("/")):
            apart = ", ".join(text for text in (where, what) if text)
            found.append(f"{name} ({apart})" if apart else name)
        return tuple(printable(title) for title in found)


def titles_of(signals: Sequence[Named]) -> list[str]:
    """Return a title for each signal, no two alike.

    Signals that would share a title all get the same, next longer form of it.
    """
    choices = [one.titles() for one in signals]
    shared: dict[str, list[int]] = {}
    for at, titles in enumerate(choices):
        shared.setdefault(titles[0], []).append(at)
    found = [""] * len(signals)
    for members in shared.values():
        for level in range(len(choices[members[0]])):
            titles = tuple(choices[at][level] for at in members)
            if len(set(titles)) == len(members):
                break
        for at, title in zip(members, titles, strict=True):
            found[at] = title
    return _numbered(found)


def _numbered(titles: Sequence[str]) -> list[str]:
    """Return the titles, with a number behind each one that is there already."""
    found: list[str] = []
    for title in titles:
        distinct, number = title, 1
        while distinct in found:
            number += 1
            distinct = f"{title} [{number}]"
        found.append(distinct)
    return found
