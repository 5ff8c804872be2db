"""One store to another as a Prefect flow: ``rechunk(params)``, ``python -m flows.rechunk``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import publish_table
from flows.command import checked, leave, parser_for
from flows.logs import lines_in_record
from flows.runs import Config, final_state, progress_here, run_here, settings_of
from usid_tasks.engines import open_engine
from usid_tasks.printable import printable
from usid_tasks.rechunk import RechunkResult
from usid_tasks.report import count, plain_console
from usid_tasks.tasks import rechunk_one


class RechunkParams(BaseModel):
    """Which store to make in other chunks, and for what; how stands in the configuration."""

    model_config = ConfigDict(extra="forbid", title="Rechunk")

    store: Path = Field(
        title="Store",
        description="A store with its receipt, as an absolute path on the machine that runs the "
        "flow.",
        examples=["/stores/scan.h5.zarr"],
    )
    dest: Path = Field(
        title="New store",
        description="The Zarr store to make, a name that ends in .zarr; its receipt lies beside "
        "it.",
        examples=["/stores/scan.spectra.zarr"],
    )
    intent: str = Field(
        default="balanced",
        title="Intent",
        description="What the store is for: spectra, images, balanced, or extents of chunks by "
        "dimension, -1 for the whole.",
        examples=["spectra", "Y=16,X=16,Bias=-1"],
    )
    memory: str = Field(
        default="1 GiB",
        title="Memory",
        description="What all workers together may hold, beyond what the process needs to start.",
        examples=["1 GiB"],
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        title="Workers",
        description="Threads; the setting convert.threads if empty.",
        examples=[2],
    )
    scheduler: str = Field(
        default="threads",
        title="Scheduler",
        description="threads, processes (a Dask cluster on the machine that runs the flow), or "
        "the address of a Dask scheduler.",
        examples=["tcp://10.0.0.5:8786"],
    )
    overwrite: bool = Field(
        default=False,
        title="Replace a store",
        description="Whether a store that is there gives way; it is kept in .usid/superseded.",
        examples=[False],
    )


@flow(name="rechunk", persist_result=False)
def rechunk(params: RechunkParams, config: Config = None) -> State[Any]:
    """Make a verified Zarr store of the same values in other chunks.

    The plan stands in the table artifact of the run. A run that was killed is taken up by the
    next one with the same parameters.

    Args:
        params: Which store, where to, and for what.
        config: Path of the site's configuration file (YAML) on the machine that runs the flow.
            Empty: the file that the variable USID_CONFIG names there, else the defaults.
    """
    settings = settings_of(config)
    workers = params.workers or settings.convert.threads
    with lines_in_record(), open_engine(params.scheduler, workers=workers) as engine:
        result = rechunk_one(
            params.store,
            params.dest,
            intent=params.intent,
            memory=params.memory,
            workers=workers,
            overwrite=params.overwrite,
            settings=settings,
            progress=progress_here(),
            engine=engine,
        )
    publish_table(
        "usid-rechunk", result.rows(), table_rows=settings.prefect.table_rows, title="Arrays"
    )
    return final_state(
        params.store,
        printable(f"done: {count(len(result.arrays), 'array')} in {result.store}"),
        "The table of the run lists every array.",
        result=result,
        is_failure=False,
    )


def run_flow(
    params: RechunkParams, config: Path | None, *, is_quiet: bool = False
) -> RechunkResult:
    """Run the flow here, as :func:`flows.runs.run_here` does, and return what was made."""
    result: RechunkResult = run_here(rechunk, params, config, is_quiet=is_quiet)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as the arguments say, print what was made, and return the exit status."""
    parser = parser_for("rechunk", "Make a store of the same values in other chunks.")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("dest", metavar="DEST", help="the store to make, such as spectra.zarr")
    parser.add_argument("--intent", default="balanced", help="spectra, images, balanced or Y=16")
    parser.add_argument("--memory", metavar="SIZE", default="1 GiB")
    parser.add_argument("--workers", metavar="N", type=int)
    parser.add_argument("--scheduler", metavar="WHERE", default="threads")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST where it is a store")
    given = vars(parser.parse_args(arguments))
    config = given.pop("config")
    result = run_flow(checked(RechunkParams, **given), config)
    plain_console().print(f"done: {count(len(result.arrays), 'array')} in {result.store}")
    return 0


if __name__ == "__main__":
    leave(main)
