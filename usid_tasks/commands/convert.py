"""``usid convert``: one file to one store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, Config


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An h5USID file.")],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="The store to make, such as scan.h5.zarr.")
    ],
    *,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Only this Main dataset; may be repeated."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace DEST where it is a store.")
    ] = False,
    config: Config = None,
) -> None:
    """Convert one h5USID file to one Zarr store.

    What is written is read back and compared with the source. DEST is the store itself; for
    folders, and for receipts, use `usid ingest`.
    """
    from usid_tasks.convert import convert_file
    from usid_tasks.progress import open_progress
    from usid_tasks.report import plain_console, print_conversion
    from usid_tasks.settings import load_settings

    settings = load_settings(config)
    with open_progress() as progress:
        result = convert_file(
            file,
            dest,
            dataset=dataset or None,
            overwrite=overwrite,
            settings=settings,
            progress=progress,
        )
    print_conversion(plain_console(), result)
    raise typer.Exit(WRONG if result.outcome.is_failure else WELL)
