"""``usid demo``: sample files, their stores, and what to look at next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import echo_lines


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")] = Path(
        "usid-demo"
    ),
) -> None:
    """Make sample files, ingest them, and say what to open.

    There is a sample of every kind, broken ones too: their findings are part of the show, and
    no failure of this command.
    """
    from usid_tasks.demo import make_demo
    from usid_tasks.report import plain_console, print_summary

    made = make_demo(directory)
    print_summary(plain_console(), made.summary)
    echo_lines(made.next_steps)
