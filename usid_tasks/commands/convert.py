"""``usid convert``: one file to one store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, Config, echo_json, echo_lines


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
    intent: Annotated[
        str | None,
        typer.Option(
            metavar="INTENT",
            help="What it is for: spectra, images, balanced, or chunks: Y=16,X=16,Bias=-1.",
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Such as auto, none, blosc-lz4, blosc-zstd, zstd."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What auto is chosen for: fast, balanced, small."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What all workers together may hold, such as 1GiB."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Blocks that are worked on at once.")
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="threads, processes (a Dask cluster here), or a Dask scheduler: tcp://host:8786.",
        ),
    ] = "threads",
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and make nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace DEST where it is a store.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Convert one h5USID file to one Zarr store.

    What is written is read back and compared with the source. DEST is the store itself; for
    folders use `usid ingest`. Run it again after a kill: what is finished is kept. Options not
    given are those of the configuration. With --json: the plan, or what was made.
    """
    from usid_tasks.convert import convert_file, plan_file
    from usid_tasks.engines import open_engine
    from usid_tasks.printable import printable
    from usid_tasks.progress import open_progress
    from usid_tasks.report import plain_console, print_conversion
    from usid_tasks.settings import load_settings

    given = {
        "intent": intent, "codec": codec, "objective": objective, "memory": memory,
        "threads": workers,
    }  # fmt: skip
    overrides = {"convert": {name: value for name, value in given.items() if value is not None}}
    settings = load_settings(config, overrides=overrides)
    if plan:
        planned = plan_file(file, dest, dataset=dataset or None, settings=settings)
        if as_json:
            echo_json(planned.to_json())
        else:
            echo_lines(printable(line) for line in planned.lines())
        return
    with (
        open_engine(scheduler, workers=settings.convert.threads) as engine,
        open_progress(is_quiet=as_json) as progress,
    ):
        result = convert_file(
            file,
            dest,
            dataset=dataset or None,
            overwrite=overwrite,
            settings=settings,
            progress=progress,
            engine=engine,
        )
    if as_json:
        echo_json(result.to_json())
    else:
        print_conversion(plain_console(), result)
    raise typer.Exit(WRONG if result.outcome.is_failure else WELL)
