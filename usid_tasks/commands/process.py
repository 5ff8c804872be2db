"""``usid process``: a tool over the Main datasets of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, Config, echo_json, echo_lines

if TYPE_CHECKING:
    from usid_tasks.process.many import Processed
    from usid_tasks.settings import Settings


def process(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="h5USID files, and folders of them."),
    ],
    *,
    tool: Annotated[
        str, typer.Option("--tool", metavar="NAME", help="What to compute; see `usid tools`.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME=VALUE", help="A parameter; may be repeated."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Only this Main dataset; all that are sound without it."),
    ] = None,
    component: Annotated[
        str | None, typer.Option(metavar="NAME", help="A field of a compound Main dataset.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The results file; by default SOURCE.results.h5 beside SOURCE."
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Put the results into SOURCE itself, where its folder is one of "
            "process.writable_roots.",
        ),
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="usid, or zarr for a store as well.")
    ] = "usid",
    override: Annotated[
        bool, typer.Option("--override", help="Compute anew what was computed before.")
    ] = False,
    test: Annotated[
        bool,
        typer.Option(
            "--test", help="Try a few positions, show the results, and what all would take."
        ),
    ] = False,
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
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Run a tool over Main datasets and keep its results.

    Results are Main datasets in a group NAME-Tool_000, with all that is needed to repeat the run.
    They go into a file of their own; SOURCE is only read, but for --in-place. What was computed
    before from the same values with the same parameters is found and not computed again. Run it
    again after a kill: finished positions are kept.
    """
    from usid_tasks.errors import RefusedError
    from usid_tasks.settings import load_settings

    if format_name not in ("usid", "zarr"):
        raise RefusedError("--format", f"is {format_name}, expected usid or zarr", "Name one.")
    given = {"memory": memory, "workers": workers}
    told = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config, overrides={"process": told})
    params = parameters_of(parameter or ())
    if test:
        _try(sources, tool, params, dataset, component, settings=settings, as_json=as_json)
        return
    from usid_tasks.engines import open_engine
    from usid_tasks.process.many import Order, process_paths
    from usid_tasks.progress import open_progress

    done: list[Processed] = []
    with (
        open_engine(scheduler, workers=settings.process.workers) as engine,
        open_progress(is_quiet=as_json) as progress,
    ):
        order = Order(
            tool=tool,
            params=params,
            settings=settings,
            dataset=dataset,
            component=component,
            out=out,
            in_place=in_place,
            format="zarr" if format_name == "zarr" else "usid",
            override=override,
            engine=engine,
            progress=progress,
        )
        for each in process_paths(sources, order):
            done.append(each)
            if not as_json:
                echo_lines(lines_of(each))
    if as_json:
        echo_json([each.to_json() for each in done])
    raise typer.Exit(WRONG if any(each.is_failure for each in done) else WELL)


def parameters_of(given: Sequence[str]) -> dict[str, str]:
    """Return parameters given as ``NAME=VALUE`` by name.

    Raises
    ------
    RefusedError
        If one has no ``=``, or a name is given twice.
    """
    from usid_tasks.errors import RefusedError

    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RefusedError(f"-p {text}", "has no name, expected NAME=VALUE", "See usid tools.")
        if name in found:
            raise RefusedError(f"-p {text}", f"is the second {name}", "Give each parameter once.")
        found[name] = value
    return found


def lines_of(processed: Processed) -> Iterator[str]:
    """Yield what became of a file, for people."""
    from usid_tasks.printable import printable
    from usid_tasks.process.results import ProcessOutcome

    if processed.error:
        yield f"failed     {printable(processed.error)}"
    for each in processed.results:
        if each.outcome is ProcessOutcome.REFUSED:
            yield f"refused    {printable(each.dataset)}  {printable(each.reason)}"
            continue
        speed = f", {each.positions_per_second:,.0f} positions/s" if each.n_done else ""
        kept = f", {each.n_kept:,} kept" if each.outcome is ProcessOutcome.RESUMED else ""
        how = " (computed before)" if each.outcome is ProcessOutcome.FOUND else f"{kept}{speed}"
        place = each.file if each.store is None else each.store
        yield f"{each.outcome.value:<10} {printable(f'{place} {each.group}')}{how}"


def _try(
    sources: Sequence[Path],
    tool: str,
    params: dict[str, str],
    dataset: str | None,
    component: str | None,
    *,
    settings: Settings,
    as_json: bool,
) -> None:
    from usid_tasks.process.trying import try_positions

    trials = [
        try_positions(source, tool, params, dataset=dataset, component=component, settings=settings)
        for source in sources
    ]
    if as_json:
        echo_json([trial.to_json() for trial in trials])
        return
    from usid_tasks.process.showing import trial_lines

    echo_lines(line for trial in trials for line in trial_lines(trial))
