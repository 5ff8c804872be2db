"""``usid verify``: stores against their receipts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson


def verify(
    path: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="The DEST of an ingest, or single stores."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Read stores again and compare every array with its receipt.

    A missing shard, a changed byte, an array too many or a store without its receipt is an
    error: Zarr itself would read a missing shard as zeros.

    With --json: one object a store.
    """
    from usid_tasks.printable import printable
    from usid_tasks.progress import open_progress
    from usid_tasks.sizes import format_size
    from usid_tasks.verify import verify_paths

    n_stores = n_wrong = size = 0
    with open_progress(is_quiet=as_json) as progress:
        for found in verify_paths(path, progress=progress):
            n_stores += 1
            n_wrong += bool(found.problems)
            size += found.size_bytes
            if as_json:
                record = {
                    "store": str(found.store),
                    "arrays": found.n_arrays,
                    "bytes": found.size_bytes,
                    "problems": list(found.problems),
                }
                typer.echo(json.dumps(record))
                continue
            for problem in found.problems:
                typer.echo(f"wrong  {printable(problem)}")
    if not as_json:
        typer.echo(f"{n_stores - n_wrong} of {n_stores} stores verified, {format_size(size)} read")
    raise typer.Exit(WRONG if n_wrong else WELL)
