"""What several commands share: options, exit statuses, and lines on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.model import JSON

WELL, WRONG, NOT_RUN, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses, the same in every command."""

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Your settings (YAML); without it USID_CONFIG, then the defaults.",
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output."""
    for line in lines:
        typer.echo(line)


def echo_json(record: JSON) -> None:
    """Print one JSON value on standard output, indented."""
    typer.echo(json.dumps(record, indent=2))
