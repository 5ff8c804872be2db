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
    settings = settings_of(config)
    with lines_in_record():
        result = convert_one(
            params.file,
            params.dest,
            params.datasets,
            overwrite=params.overwrite,
            settings=settings,
            progress=progress_here(),
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
    parser.add_argument("--overwrite", action="store_true", help="replace DEST where it is a store")
    given = parser.parse_args(arguments)
    params = checked(
        ConvertParams,
        file=given.file,
        dest=given.dest,
        datasets=given.dataset,
        overwrite=given.overwrite,
    )
    result = run_flow(params, given.config)
    print_conversion(plain_console(), result)
    return 1 if result.outcome.is_failure else 0


if __name__ == "__main__":
    leave(main)
