"""``usid ingest``: the main job, as a plain call or as a Prefect flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usid_tasks.commands.options import WELL, AsJson, Config, echo_lines

if TYPE_CHECKING:
    from usid_tasks.ingest import IngestRequest, IngestSummary


def ingest(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders or files to search; NAME=PATH puts the stores under DEST/NAME/.",
        ),
    ],
    *,
    to: Annotated[
        Path, typer.Option("--to", metavar="DEST", help="Root of the stores and receipts.")
    ],
    config: Config = None,
    settle: Annotated[
        float | None,
        typer.Option(
            "--settle",
            metavar="SECONDS",
            min=0,
            help="How long a file must have been left alone; 0 trusts every file "
            "(instead of the setting ingest.settle_s).",
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Convert outdated files again.")
    ] = False,
    scheduled: Annotated[
        bool,
        typer.Option(
            "--scheduled", help="Count known failures that have not changed, without failing."
        ),
    ] = False,
    prefect: Annotated[
        bool | None,
        typer.Option(
            "--prefect/--no-prefect",
            help="Run as a Prefect flow, on an embedded server if need be (15 s), or never. "
            "Without either: where a Prefect server is configured.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, and no summary where all is well.")
    ] = False,
) -> None:
    """Convert folders of h5USID files to Zarr stores.

    Files are found by content. Each one is validated, converted, compared with its source and
    given a receipt; a file that is still being written is left for the next run, and a second
    run does only what is new.

    With --json: one object a file ("kind": "file"), then one for the run ("kind": "summary").
    """
    from usid_tasks.ingest import IngestRequest
    from usid_tasks.report import plain_console, print_summary, summary_lines

    request = IngestRequest(
        sources=source, dest=to, refresh=refresh, scheduled=scheduled, settle_s=settle
    )
    summary = run(request, config, use_prefect=prefect, is_quiet=quiet or as_json)
    if as_json:
        echo_lines(summary_lines(summary))
    elif not quiet or summary.exit_status != WELL:
        print_summary(plain_console(), summary)
    raise typer.Exit(summary.exit_status)


def run(
    request: IngestRequest, config: Path | None, *, use_prefect: bool | None, is_quiet: bool
) -> IngestSummary:
    """Return the summary of one ingest.

    Parameters
    ----------
    request
        What to ingest.
    config
        The site's configuration file, if any.
    use_prefect
        True for a flow run, False for a plain call, None for a flow run where a server is
        configured.
    is_quiet
        Whether to draw no bars and say nothing about Prefect.
    """
    from usid_tasks.settings import load_settings

    settings = load_settings(config)  # first: a mistake there must not wait for a server
    if use_prefect is None:
        from flows.server import server_url

        use_prefect = server_url() is not None
        if not use_prefect and not is_quiet:
            typer.echo("no Prefect server is configured: running without one", err=True)
    if use_prefect:
        from flows.ingest import run_flow

        return run_flow(request, config)
    from usid_tasks import ingest as library
    from usid_tasks.progress import open_progress

    with open_progress(is_quiet=is_quiet) as progress:
        return library.ingest(request, settings, progress=progress)
