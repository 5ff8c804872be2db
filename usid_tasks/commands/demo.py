"""``usid demo``: sample files, their stores, and what to look at next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, echo_lines


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")] = Path(
        "usid-demo"
    ),
) -> None:
    """Make sample files, ingest them, and say what to open.

    There is a sample of every kind, broken ones too: they come to the outcome that they are made
    for, and the exit status is 1 only where one does not. The ingest is a Prefect flow on a
    server that starts for it (15 s) and ends with it; its record stays in DIR.
    """
    from usid_tasks.demo import make_demo

    made = make_demo(directory)
    echo_lines(made.lines())
    raise typer.Exit(WELL if made.is_as_expected else WRONG)
