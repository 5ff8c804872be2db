"""The main job as a Prefect flow: ``ingest(params)``, also ``python -m flows.ingest``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import State, flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import ingest_sentence, publish_ingest
from flows.batches import plan_batches, run_batches
from flows.command import checked, leave, parser_for
from flows.logs import lines_in_record
from flows.runs import (
    Config,
    final_state,
    is_scheduled,
    progress_here,
    run_here,
    settings_of,
)
from usid_tasks.ingest import IngestRequest, IngestSummary, begin_sweep, ingest_one, summarise
from usid_tasks.report import plain_console, print_summary


class IngestParams(BaseModel):
    """What one ingest does; how it does it stands in the configuration."""

    model_config = ConfigDict(extra="forbid", title="Ingest")

    sources: list[str] = Field(
        title="Sources",
        description="Folders or files with h5USID data, as absolute paths on the machine that "
        "runs the flow. NAME=PATH puts the stores of a source under DEST/NAME/. Files are found "
        "by content; sources are never written to.",
        min_length=1,
        examples=[["/data/afm"], ["afm=/data/afm", "stem=/data/stem"]],
    )
    dest: Path = Field(
        title="Destination (DEST)",
        description="Folder that holds the Zarr stores and their receipts, one of each for "
        "every source file. It is made where it is missing.",
        examples=["/stores"],
    )
    refresh: bool = Field(
        default=False,
        title="Refresh outdated stores",
        description="Convert files again whose stores were made with other settings or an older "
        "layout. The former stores are kept in DEST/.usid/superseded.",
        examples=[False],
    )
    scheduled: bool = Field(
        default=False,
        title="Treat as a scheduled run",
        description="Count failures that are known from earlier runs and have not changed "
        "without failing this run. Runs that a schedule makes always do.",
        examples=[False],
    )
    settle_s: float | None = Field(
        default=None,
        title="Settling time (seconds)",
        description="How long a file must have been left alone before it is read; 0 trusts "
        "every file. Empty: the setting ingest.settle_s.",
        ge=0,
        allow_inf_nan=False,
        examples=[60, 0],
    )


@flow(name="ingest", persist_result=False)
def ingest(params: IngestParams, config: Config = None) -> State[Any]:
    """Convert folders of h5USID files to verified Zarr stores with receipts.

    Every file and Main dataset is listed with its outcome in the table artifacts of the run. The
    run is Completed where all is well and Failed where something in the data is wrong or a file
    failed, which stops no other file. Runs may be repeated at will: what is done is not done
    again.

    Args:
        params: What this run does.
        config: Path of the site's configuration file (YAML) on the machine that runs the flow.
            Empty: the file that the variable USID_CONFIG names there, else the defaults.
    """
    settings = settings_of(config)
    progress = progress_here()
    request = IngestRequest(
        sources=params.sources,
        dest=params.dest,
        refresh=params.refresh,
        scheduled=params.scheduled or is_scheduled(),
        settle_s=params.settle_s,
    )
    with lines_in_record():
        sweep = begin_sweep(request, settings, progress=progress)
        if sweep.files:
            size_bytes = sum(file.size for file in sweep.files)
            progress.begin("converting", files=len(sweep.files), size_bytes=size_bytes)
        records = run_batches(
            plan_batches(sweep.files),
            partial(ingest_one, sweep, progress=progress),
            workers=settings.ingest.workers,
        )
        summary = summarise(sweep, records)
    publish_ingest(summary, table_rows=settings.prefect.table_rows)
    return final_state(
        summary.dest,
        ingest_sentence(summary),
        "The table of the run lists every file; `usid validate FILE` tells what to do.",
        result=summary,
        is_failure=summary.exit_status != 0,
    )


def run_flow(
    request: IngestRequest, config: Path | None, *, is_quiet: bool = False
) -> IngestSummary:
    """Run the flow here, as :func:`flows.runs.run_here` does, and return its summary.

    Raises
    ------
    RefusedError
        See :func:`usid_tasks.ingest.begin_sweep`.
    ServerError
        If no Prefect server answers, configured or embedded.
    """
    params = checked(
        IngestParams,
        sources=list(request.sources),
        dest=request.dest,
        refresh=request.refresh,
        scheduled=request.scheduled,
        settle_s=request.settle_s,
    )
    summary: IngestSummary = run_here(ingest, params, config, is_quiet=is_quiet)
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as the arguments say, print the summary, and return the exit status."""
    parser = parser_for("ingest", "Ingest h5USID files as a Prefect flow.")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="PATH or NAME=PATH")
    parser.add_argument("--to", metavar="DEST", type=Path, required=True, help="root of the stores")
    parser.add_argument("--refresh", action="store_true", help="convert outdated files again")
    parser.add_argument("--scheduled", action="store_true", help="known failures do not count")
    parser.add_argument("--settle", metavar="SECONDS", type=float, help="0 trusts every file")
    given = parser.parse_args(arguments)
    request = IngestRequest(
        sources=given.sources,
        dest=given.to,
        refresh=given.refresh,
        scheduled=given.scheduled,
        settle_s=given.settle,
    )
    summary = run_flow(request, given.config)
    print_summary(plain_console(), summary)
    return summary.exit_status


if __name__ == "__main__":
    leave(main)
