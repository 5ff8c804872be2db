"""Validation as a Prefect flow: ``validate(params)``, also ``python -m flows.validate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import State, flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import finding_rows, publish_table
from flows.command import checked, leave, parser_for
from flows.logs import lines_in_record
from flows.runs import Config, final_state, progress_here, run_here, settings_of
from usid_tasks.model import Finding, Severity
from usid_tasks.printable import printable
from usid_tasks.report import count, plain_console, print_findings
from usid_tasks.tasks import validate_files


class ValidateParams(BaseModel):
    """What one validation looks at; which rules apply stands in the configuration."""

    model_config = ConfigDict(extra="forbid", title="Validate")

    paths: list[Path] = Field(
        title="Files and folders",
        description="Files, or folders to search for HDF5 files, as absolute paths on the "
        "machine that runs the flow.",
        min_length=1,
        examples=[["/data/afm", "/data/stem/scan.h5"]],
    )


@dataclass(frozen=True)
class Validated:
    """How many files were looked at, and what was found in them."""

    n_files: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity error."""
        return tuple(one for one in self.findings if one.severity is Severity.ERROR)

    @property
    def exit_status(self) -> int:
        """0 where no finding is an error, else 1."""
        return int(bool(self.errors))


@flow(name="validate", persist_result=False)
def validate(params: ValidateParams, config: Config = None) -> State[Any]:
    """Tell what is wrong with h5USID files.

    The findings stand in the table artifacts of the run, errors first, those equal in several
    files once. The run is Failed where one of them is an error.

    Args:
        params: What this run looks at.
        config: Path of the site's configuration file (YAML) on the machine that runs the flow.
            Empty: the file that the variable USID_CONFIG names there, else the defaults.
    """
    settings = settings_of(config)
    with lines_in_record():
        found, unread = validate_files(params.paths, settings, progress_here())
    validated = Validated(len(found), tuple(one for _, findings in found for one in findings))
    rows = finding_rows(validated.findings)
    publish_table("usid-findings", rows, table_rows=settings.prefect.table_rows, title="Findings")
    if unread is not None:
        raise unread
    return final_state(
        ", ".join(printable(path) for path in params.paths),
        _sentence(validated),
        "The table of the run lists every finding and what to do.",
        result=validated,
        is_failure=validated.exit_status != 0,
    )


def _sentence(validated: Validated) -> str:
    errors = validated.errors
    told = f"{count(validated.n_files, 'file')}: {count(len(errors), 'error')}"
    others = len(validated.findings) - len(errors)
    parts = [f"{told}, {count(others, 'other finding')}"]
    parts += [f"{one.file} {one.path} {one.id}: {one.found}" for one in errors[:1]]
    return printable("; ".join(parts))


def run_flow(params: ValidateParams, config: Path | None, *, is_quiet: bool = False) -> Validated:
    """Run the flow here, as :func:`flows.runs.run_here` does, and return what was found."""
    validated: Validated = run_here(validate, params, config, is_quiet=is_quiet)
    return validated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as the arguments say, print the findings, and return the exit status."""
    parser = parser_for("validate", "Validate h5USID files as a Prefect flow.")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file, or a folder to search")
    given = parser.parse_args(arguments)
    validated = run_flow(checked(ValidateParams, paths=given.paths), given.config)
    print_findings(plain_console(), validated.findings, n_files=validated.n_files)
    return validated.exit_status


if __name__ == "__main__":
    leave(main)
