"""``usid validate`` and ``usid rules``: what is wrong with files, by which rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, Config, echo_lines
from usid_tasks.model import Finding, Severity


def validate(
    path: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, or folders to search.")
    ],
    *,
    as_json: AsJson = False,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this rule; may be repeated (validate.select)."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Never this rule; may be repeated (validate.ignore)."),
    ] = None,
    severity: Annotated[
        Severity | None,
        typer.Option(help="The mildest findings that are told (validate.severity)."),
    ] = None,
    config: Config = None,
) -> None:
    """Tell what is wrong with files, and what to do.

    Findings that are the same in several files are told once; `usid rules` lists the rules. An
    option takes the place of the setting named beside it.

    With --json: one object a finding, on a line of its own, and nothing else.
    """
    from usid_tasks.progress import open_progress
    from usid_tasks.report import finding_lines, plain_console, print_findings
    from usid_tasks.settings import load_settings
    from usid_tasks.validate import validate_paths

    options = {"select": select or None, "ignore": ignore or None, "severity": severity}
    given = {key: value for key, value in options.items() if value is not None}
    settings = load_settings(config, overrides={"validate": given})
    n_files, has_error = 0, False
    told: list[Finding] = []
    try:
        with open_progress(is_quiet=as_json) as progress:
            for _, findings in validate_paths(path, settings, progress=progress):
                n_files += 1
                has_error |= any(finding.severity is Severity.ERROR for finding in findings)
                if as_json:
                    echo_lines(finding_lines(findings))
                else:
                    told += findings
    finally:  # what could not be read is told after all that could
        if not as_json and n_files:
            print_findings(plain_console(), told, n_files=n_files)
    raise typer.Exit(WRONG if has_error else WELL)


def rules(
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the whole page of documentation.")
    ] = False,
) -> None:
    """List the validation rules: id, severity, title."""
    from usid_tasks.checks import RULES, rules_page

    if markdown:
        typer.echo(rules_page(), nl=False)
    else:
        echo_lines(f"{rule.id:<5} {rule.severity:<8} {rule.title}" for rule in RULES)
