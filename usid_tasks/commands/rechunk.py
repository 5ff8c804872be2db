"""``usid rechunk``: one store to another in other chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import AsJson, Config, echo_json, echo_lines


def rechunk(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store with its receipt.")],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="The store to make, such as spectra.zarr.")
    ],
    *,
    intent: Annotated[
        str,
        typer.Option(
            metavar="INTENT",
            help="What it is for: spectra, images, balanced, or chunks: Y=16,X=16,Bias=-1.",
        ),
    ] = "balanced",
    memory: Annotated[
        str,
        typer.Option(metavar="SIZE", help="What all workers together may hold, such as 1GiB."),
    ] = "1GiB",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Threads; the setting convert.threads without it."),
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
    """Make a store of the same values in other chunks.

    Every block written is read back, and the values made must have the digests of STORE's
    receipt. Run it again after a kill: what is finished is kept. With --json: the plan, or what
    was made.
    """
    from usid_tasks.engines import open_engine
    from usid_tasks.printable import printable
    from usid_tasks.progress import open_progress
    from usid_tasks.rechunk import plan_store, rechunk_store
    from usid_tasks.report import count
    from usid_tasks.settings import load_settings
    from usid_tasks.sizes import format_size

    settings = load_settings(config)
    if plan:
        planned = plan_store(
            store, dest, intent=intent, memory=memory, workers=workers, settings=settings
        )
        if as_json:
            echo_json(planned.to_json())
        else:
            echo_lines(printable(line) for line in planned.lines())
        return
    with (
        open_engine(scheduler, workers=workers or settings.convert.threads) as engine,
        open_progress(is_quiet=as_json) as progress,
    ):
        made = rechunk_store(
            store,
            dest,
            intent=intent,
            memory=memory,
            workers=workers,
            overwrite=overwrite,
            settings=settings,
            progress=progress,
            engine=engine,
        )
    if as_json:
        echo_json(made.to_json())
        return
    kept = (
        f", {count(made.counted.n_kept, 'task')} of an earlier run" if made.counted.n_kept else ""
    )
    typer.echo(f"done: {count(len(made.arrays), 'array')} in {printable(made.store)}{kept}")
    for array in made.plan.arrays:
        if not array.is_copied:
            chunk = " x ".join(map(str, array.target.chunk))
            size = format_size(array.subject.size_bytes)
            typer.echo(f"  {printable(array.subject.path)}  chunks {chunk}, {size}")
