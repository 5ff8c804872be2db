"""One file to one store as a Prefect flow: ``convert(params)``, ``python -m flows.convert``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import finding_rows, publish_table
from flows.command import checked, leave, parser_for
from flows.logs import lines_in_record
from flows.runs import Config, final_state, progress_here, run_here, settings_of
from usid_tasks.convert import ConvertResult
from usid_tasks.engines import open_engine
from usid_tasks.printable import printable
from usid_tasks.report import count, plain_console, print_conversion
from usid_tasks.tasks import convert_one


class ConvertParams(BaseModel):
    """Which file to convert, and where to; how stands in the configuration."""

    model_config = ConfigDict(extra="forbid", title="Convert")

    file: Path = Field(
        title="File",
        description="An h5USID file, as an absolute path on the machine that runs the flow.",
        examples=["/data/scan.h5"],
    )
    dest: Path = Field(
        title="Store",
        description="The Zarr store to make, a name that ends in .zarr; its receipt lies beside "
        "it.",
        examples=["/stores/scan.h5.zarr"],
    )
    datasets: list[str] = Field(
        default=[],
        title="Main datasets",
        description="HDF5 paths of the Main datasets to convert; all if empty.",
        examples=[["/Measurement_000/Channel_000/Raw_Data"]],
    )
    intent: str | None = Field(
        default=None,
        title="Intent",
        description="What the store is for: spectra, images, balanced, or extents of chunks by "
        "dimension, -1 for the whole; the setting convert.intent if empty.",
        examples=["spectra", "Y=16,X=16,Bias=-1"],
    )
    codec: str | None = Field(
        default=None,
        title="Codec",
        description="auto, none, blosc-lz4, blosc-zstd, zstd; the setting convert.codec if empty.",
        examples=["auto"],
    )
    memory: str | None = Field(
        default=None,
        title="Memory",
        description="What all workers together may hold, beyond what a process needs to start; "
        "the setting convert.memory if empty.",
        examples=["1 GiB"],
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        title="Workers",
        description="Blocks that are worked on at once; the setting convert.threads if empty.",
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


@flow(name="convert", persist_result=False)
def convert(params: ConvertParams, config: Config = None) -> State[Any]:
    """Convert one h5USID file to one verified Zarr store.

    What was found in the file stands in the table artifact of the run. The run is Failed where
    a Main dataset is broken; the sound ones are stored.

    Args:
        params: Which file to convert, and where to.
        config: Path of the site's configuration file (YAML) on the machine that runs the flow.
            Empty: the file that the variable USID_CONFIG names there, else the defaults.
    """
    settings = settings_of(config, convert=_given(params))
    with (
        lines_in_record(),
        open_engine(params.scheduler, workers=settings.convert.threads) as engine,
    ):
        result = convert_one(
            params.file,
            params.dest,
            params.datasets,
            overwrite=params.overwrite,
            settings=settings,
            progress=progress_here(),
            engine=engine,
        )
    rows = finding_rows(result.findings)
    publish_table("usid-convert", rows, table_rows=settings.prefect.table_rows, title="Findings")
    told = f"{result.outcome}: {count(len(result.arrays), 'array')}"
    return final_state(
        params.file,
        printable(f"{told}; {result.reason}" if result.reason else f"{told} in {result.store}"),
        "The table of the run lists every finding and what to do.",
        result=result,
        is_failure=result.outcome.is_failure,
    )


def _given(params: ConvertParams) -> dict[str, object]:
    """Return the settings that the parameters give."""
    given = {
        "intent": params.intent,
        "codec": params.codec,
        "memory": params.memory,
        "threads": params.workers,
    }
    return {name: value for name, value in given.items() if value is not None}


def run_flow(
    params: ConvertParams, config: Path | None, *, is_quiet: bool = False
) -> ConvertResult:
    """Run the flow here, as :func:`flows.runs.run_here` does, and return what became of it."""
    result: ConvertResult = run_here(convert, params, config, is_quiet=is_quiet)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as the arguments say, print what was made, and return the exit status."""
    parser = parser_for("convert", "Convert one h5USID file as a Prefect flow.")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("dest", metavar="DEST", help="the store to make, such as scan.h5.zarr")
    parser.add_argument("--dataset", metavar="PATH", action="append", default=[])
    parser.add_argument("--intent", help="spectra, images, balanced or Y=16,X=16,Bias=-1")
    parser.add_argument("--codec", metavar="NAME")
    parser.add_argument("--memory", metavar="SIZE")
    parser.add_argument("--workers", metavar="N", type=int)
    parser.add_argument("--scheduler", metavar="WHERE", default="threads")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST where it is a store")
    given = vars(parser.parse_args(arguments))
    config = given.pop("config")
    result = run_flow(checked(ConvertParams, datasets=given.pop("dataset"), **given), config)
    print_conversion(plain_console(), result)
    return 1 if result.outcome.is_failure else 0


if __name__ == "__main__":
    leave(main)
