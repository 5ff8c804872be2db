"""A tool over Main datasets as a Prefect flow: ``process(params)``, ``python -m flows.process``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from prefect import State, flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import Row, publish_table
from flows.command import checked, leave, parser_for
from flows.logs import lines_in_record
from flows.runs import Config, final_state, progress_here, run_here, settings_of
from usid_tasks.commands.options import WELL, WRONG, echo_lines
from usid_tasks.commands.process import lines_of, parameters_of
from usid_tasks.engines import open_engine
from usid_tasks.printable import printable
from usid_tasks.process.many import Order, Processed
from usid_tasks.report import count
from usid_tasks.tasks import process_one


class ProcessParams(BaseModel):
    """Which tool to run over which files; how stands in the configuration."""

    model_config = ConfigDict(extra="forbid", title="Process")

    sources: list[Path] = Field(
        title="Sources",
        description="h5USID files, and folders of them, as absolute paths on the machine that "
        "runs the flow.",
        min_length=1,
        examples=[["/data/scan.h5"]],
    )
    tool: str = Field(
        title="Tool",
        description="The name of a tool that an installed package registers; `usid tools` lists "
        "them.",
        examples=["svd"],
    )
    parameters: dict[str, Any] = Field(
        default={},
        title="Parameters",
        description="The tool's parameters by name; `usid tools NAME` lists them.",
        examples=[{"n_components": 16}],
    )
    dataset: str | None = Field(
        default=None,
        title="Main dataset",
        description="HDF5 path of the Main dataset to work on; all that are sound if empty.",
        examples=["/Measurement_000/Channel_000/Raw_Data"],
    )
    component: str | None = Field(
        default=None,
        title="Component",
        description="The field of a compound Main dataset to work on.",
        examples=["Amplitude [V]"],
    )
    out: Path | None = Field(
        default=None,
        title="Results file",
        description="Where results of a single source go; beside it, or below "
        "process.results_root, if empty.",
        examples=["/results/scan.results.h5"],
    )
    in_place: bool = Field(
        default=False,
        title="In place",
        description="Whether results go into the source itself, below process.writable_roots.",
        examples=[False],
    )
    format: Literal["usid", "zarr"] = Field(
        default="usid",
        title="Format",
        description="usid: a results file; zarr: a store of it as well.",
        examples=["usid"],
    )
    override: bool = Field(
        default=False,
        title="Compute anew",
        description="Whether what was computed before is computed again.",
        examples=[False],
    )
    scheduler: str = Field(
        default="threads",
        title="Scheduler",
        description="threads, processes (a Dask cluster on the machine that runs the flow), or "
        "the address of a Dask scheduler.",
        examples=["tcp://10.0.0.5:8786"],
    )


@flow(name="process", persist_result=False)
def process(params: ProcessParams, config: Config = None) -> State[Any]:
    """Run a tool over Main datasets and write results groups with provenance.

    Every file is a task. What was computed before is found and not computed again; what a killed
    run has finished is kept. The table of the run lists every results group.

    Args:
        params: Which tool, over which files.
        config: Path of the site's configuration file (YAML) on the machine that runs the flow.
            Empty: the file that the variable USID_CONFIG names there, else the defaults.
    """
    settings = settings_of(config)
    workers = settings.process.workers
    with lines_in_record(), open_engine(params.scheduler, workers=workers) as engine:
        order = Order(
            tool=params.tool,
            params=params.parameters,
            settings=settings,
            dataset=params.dataset,
            component=params.component,
            out=params.out,
            in_place=params.in_place,
            format=params.format,
            override=params.override,
            engine=engine,
            progress=progress_here(),
        )
        found = order.files(params.sources)
        done = [*found.unread, *(_outcome(file, root, order) for file, root in found.files)]
    rows = [row for each in done for row in _rows(each)]
    publish_table("usid-process", rows, table_rows=settings.prefect.table_rows, title="Results")
    wrong = [each for each in done if each.is_failure]
    told = f"{params.tool}: {count(len(done), 'file')}, {len(wrong)} failed"
    return final_state(
        ", ".join(printable(path) for path in params.sources),
        printable("; ".join([told, *(each.told for each in wrong[:1])])),
        "The table of the run lists every results group and every reason.",
        result=tuple(done),
        is_failure=bool(wrong),
    )


def _outcome(file: Path, root: Path | None, order: Order) -> Processed:
    """Run the task of one file, and return what became of it: a Failed task tells it, too."""
    state = process_one(file, root, order, return_state=True)
    told = state.result(raise_on_failure=False)
    if isinstance(told, Processed):
        return told
    return Processed(source=file, error=f"{file}: {state.message or state.name}")


def _rows(processed: Processed) -> list[Row]:
    """Return a row for each results group of a file, or one that tells why there is none."""
    source = printable(processed.source)
    if processed.error:
        return [{"source": source, "outcome": "failed", "told": printable(processed.error)}]
    return [
        {
            "source": source,
            "dataset": printable(each.dataset),
            "outcome": each.outcome.value,
            "results": printable(f"{each.file} {each.group}" if each.group else ""),
            "positions": each.n_done,
            "seconds": round(each.seconds, 3),
            "told": printable(each.reason),
        }
        for each in processed.results
    ]


def run_flow(
    params: ProcessParams, config: Path | None, *, is_quiet: bool = False
) -> tuple[Processed, ...]:
    """Run the flow here, as :func:`flows.runs.run_here` does, and return what became of files."""
    done: tuple[Processed, ...] = run_here(process, params, config, is_quiet=is_quiet)
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as the arguments say, print what became of files, return the exit status."""
    parser = parser_for("process", "Run a tool over Main datasets as a Prefect flow.")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a file or a folder")
    parser.add_argument("--tool", metavar="NAME", required=True)
    parser.add_argument(
        "-p", "--parameter", metavar="NAME=VALUE", action="append", default=[], dest="parameters"
    )
    parser.add_argument("--dataset", metavar="PATH")
    parser.add_argument("--component", metavar="NAME")
    parser.add_argument("--out", metavar="FILE")
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--format", choices=["usid", "zarr"], default="usid")
    parser.add_argument("--override", action="store_true")
    parser.add_argument("--scheduler", metavar="WHERE", default="threads")
    given = vars(parser.parse_args(arguments))
    config = given.pop("config")
    given["parameters"] = parameters_of(given["parameters"])
    done = run_flow(checked(ProcessParams, **given), config)
    echo_lines(line for each in done for line in lines_of(each))
    return WRONG if any(each.is_failure for each in done) else WELL


if __name__ == "__main__":
    leave(main)
