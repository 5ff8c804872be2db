"""``usid inspect``: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, echo_json
from usid_tasks.model import Severity


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a file's tree, Main datasets, axes and storage.

    With --json: one object, with the same in full.
    """
    from usid_tasks.inspect import inspect_file, render

    record = inspect_file(file)
    if as_json:
        echo_json(record)
    else:
        from usid_tasks.report import plain_console

        render(record, plain_console())
    findings = record.get("findings", ())
    has_error = any(finding["severity"] == Severity.ERROR for finding in findings)
    raise typer.Exit(WRONG if has_error else WELL)
