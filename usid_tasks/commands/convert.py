"""``usid convert``: one file or store to one of the formats."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, Config, echo_json, echo_lines

if TYPE_CHECKING:
    from usid_tasks.settings import Settings
    from usid_tasks.stores.registry import Format


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="An h5USID file; for usid a store.")
    ],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="What to make, such as scan.h5.zarr.")
    ],
    *,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="zarr, usid, hspy, zspy or nsid; by default what the end of DEST says: .zarr, "
            ".hspy, .zspy, and .h5 of a store for usid.",
        ),
    ] = None,
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
        str | None,
        typer.Option(
            metavar="WHERE",
            help="threads (default), processes (a Dask cluster here), or a Dask scheduler: "
            "tcp://host:8786.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and make nothing.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace DEST; a store is moved to .usid/superseded beside it."
        ),
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Convert one file to a Zarr store, or to another format.

    What is written is read back and compared with the source before it is at DEST; for folders
    use `usid ingest`. Options not given are those of the configuration; one that means nothing to
    the format is refused. With --json: the plan, or what was made.

    \b
    zarr  of a file: a Zarr 3 store with its receipt; takes every option
    usid  of a store: the h5USID file that it was made of
    hspy  of a file: HyperSpy's HDF5
    zspy  of a file: HyperSpy's Zarr
    nsid  of a file: N-D datasets in HDF5
    """  # noqa: D301 - the escape keeps the lines apart in the help
    from usid_tasks.settings import load_settings
    from usid_tasks.stores.registry import choose_format

    chosen = choose_format(source, dest, format_name)
    shaping = {
        "intent": intent, "codec": codec, "objective": objective, "memory": memory,
        "workers": workers,
    }  # fmt: skip
    _refuse_options(
        chosen, {**shaping, "dataset": dataset, "scheduler": scheduler, "plan": plan or None}
    )
    given = {name: value for name, value in shaping.items() if value is not None}
    if "workers" in given:
        given["threads"] = given.pop("workers")
    settings = load_settings(config, overrides={"convert": given})
    datasets = dataset or []
    if plan:
        _print_plan(source, dest, datasets, settings=settings, as_json=as_json)
    elif chosen.name == "zarr":
        _make_zarr(
            source, dest, datasets, settings=settings, scheduler=scheduler or "threads",
            overwrite=overwrite, as_json=as_json,
        )  # fmt: skip
    else:
        _make(
            chosen, source, dest, datasets, settings=settings, overwrite=overwrite, as_json=as_json
        )


def _refuse_options(chosen: Format, given: Mapping[str, object]) -> None:
    """Refuse the options that the format has no use for.

    Raises
    ------
    RefusedError
        Naming the first of them, and those that there are.
    """
    from usid_tasks.errors import RefusedError

    for name, value in given.items():
        if value is not None and name not in chosen.options:
            known = ", ".join(f"--{option}" for option in sorted(chosen.options))
            raise RefusedError(
                f"--{name}", f"means nothing to the format {chosen.name}",
                f"Leave it out; {chosen.name} takes {known}.",
            )  # fmt: skip


def _print_plan(
    source: Path, dest: Path, datasets: list[str], *, settings: Settings, as_json: bool
) -> None:
    from usid_tasks.convert import plan_file
    from usid_tasks.printable import printable

    planned = plan_file(source, dest, dataset=datasets, settings=settings)
    if as_json:
        echo_json(planned.to_json())
    else:
        echo_lines(printable(line) for line in planned.lines())


def _make_zarr(
    source: Path,
    dest: Path,
    datasets: list[str],
    *,
    settings: Settings,
    scheduler: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    from usid_tasks.file_digests import SourceDigest

    # the file is hashed while the rest of the program is loaded
    begun = SourceDigest(source) if source.is_file() else None
    from usid_tasks.convert import convert_file
    from usid_tasks.engines import open_engine
    from usid_tasks.progress import open_progress
    from usid_tasks.report import plain_console, print_conversion

    with (
        begun or nullcontext(),
        open_engine(scheduler, workers=settings.convert.threads) as engine,
        open_progress(is_quiet=as_json) as progress,
    ):
        result = convert_file(
            source,
            dest,
            dataset=datasets,
            overwrite=overwrite,
            settings=settings,
            progress=progress,
            engine=engine,
            begun=begun,
        )
    if as_json:
        echo_json(result.to_json())
    else:
        print_conversion(plain_console(), result)
    raise typer.Exit(WRONG if result.outcome.is_failure else WELL)


def _make(
    chosen: Format,
    source: Path,
    dest: Path,
    datasets: list[str],
    *,
    settings: Settings,
    overwrite: bool,
    as_json: bool,
) -> None:
    from usid_tasks.printable import printable
    from usid_tasks.progress import open_progress
    from usid_tasks.report import count
    from usid_tasks.sizes import format_size
    from usid_tasks.stores.registry import load_store

    store = load_store(chosen)
    with open_progress(is_quiet=as_json) as progress:
        made = store.write(
            source,
            dest,
            datasets=datasets,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        echo_json(made.to_json())
        return
    size = format_size(made.size_bytes)
    typer.echo(
        f"done: {count(len(made.datasets), 'Main dataset')} in {printable(made.path)}, {size}; "
        f"verified: {made.verified}"
    )
    echo_lines(f"  {printable(line)}" for line in made.told)
