"""``usid catalog``: what there is, from the index of the receipts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usid_tasks.commands.options import AsJson, Config

if TYPE_CHECKING:
    from usid_tasks.catalog.catalog import Catalog

catalog = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
"""The group of commands, for :mod:`usid_tasks.cli`."""

HELP = """Say what there is: files, Main datasets, findings, runs.

The receipts in DEST are the truth; the catalogue is their index, a database of its own
(catalog.url; without it a file in site.state_dir). `rebuild` makes it anew at any time.
"""


class What(StrEnum):
    """What is listed."""

    FILES = "files"
    RUNS = "runs"


class ExportFormat(StrEnum):
    """What is exported."""

    JSON = "json"
    CSV = "csv"


Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=0, help="The newest N only; 0 is all.")
]


def list_(
    what: Annotated[What, typer.Argument(help="Files, or the runs that worked on them.")] = (
        What.FILES
    ),
    *,
    limit: Limit = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    r"""List files with their state and Main datasets, or runs; newest first.

    \b
    The state of a file is what came of it last:
      done        converted; `partial` with Main datasets left out that are broken
      not USID    HDF5 without a Main dataset
      deferred    still being written, or busy: the next run looks again
      failed      nothing could be converted; `usid catalog show FILE` tells why
      quarantined failed again and again: left alone until it changes
      gone        the source is no longer there; its store stays

    With --json: one object a file or run, on a line of its own.
    """
    from usid_tasks import catalog_text
    from usid_tasks.report import plain_console

    with _open(config) as opened:
        if what is What.RUNS:
            runs = opened.runs()
            shown = runs[: limit or None]
            _tell(shown, as_json=as_json, show=catalog_text.print_runs)
            return
        files, counts = opened.search(limit=limit or None), opened.counts()
        if not as_json and not counts:
            catalog_text.print_nothing(plain_console(), opened.where)
            return
        _tell(files, as_json=as_json, show=catalog_text.print_sources)
        if not as_json:
            catalog_text.print_counts(plain_console(), counts, n_shown=len(files))


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PATH|DIGEST",
            help="A file, a store or a former path, as a whole or its end after a '/'; or a "
            "digest, 16 of its characters at least.",
        ),
    ],
    *,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show all that is known of a file.

    Main datasets with the ranges of their dimensions, attributes, findings, stores.

    With --json: one object a file, on a line of its own.
    """
    from usid_tasks.catalog_text import print_source
    from usid_tasks.errors import RefusedError
    from usid_tasks.report import plain_console

    with _open(config) as opened:
        found = opened.show(name)
        if not found:
            raise RefusedError(
                name,
                f"{opened.where} knows no file of this path or digest",
                "`usid catalog search PART` finds files by parts of their names; "
                "`usid catalog rebuild DEST` enters what is missing.",
            )
    if as_json:
        _print_lines(found)
        return
    for number, one in enumerate(found):
        if number:
            typer.echo()
        print_source(plain_console(), one)


def search(
    term: Annotated[
        list[str], typer.Argument(metavar="TERM", help="Words and FIELD=VALUE; all have to hold.")
    ],
    *,
    limit: Limit = 0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    r"""Find files by words and by fields.

    A word is looked for in paths, reasons, quantities, units, dims, attributes and findings.
    Upper and lower case are the same.

    \b
    FIELD=VALUE    equal; * stands for any text    path=afm/*  quantity=Current
    FIELD!=VALUE   not equal                       state!=done
    FIELD~PART     contains                        "instrument~Cypher"
    FIELD>=VALUE   and <=, >, <: numbers, sizes    "size>=10 MiB"  "scan_rate>0.5"

    \b
    Fields of a file:
      path root dest state outcome reason digest run machine size
      since until            when its receipt was finished; a date, or a time with its zone
    Fields of one Main dataset, which all hold for one and the same:
      main quantity units dtype
      dim                    the name of a dimension or another coordinate
      instrument             what attributes named instrument, machine, microscope, platform,
                             model, vendor or manufacturer say
      any other name         a scalar attribute of the Main dataset or of a group above it
    Fields of findings and stores:
      finding severity       R9, error
      store kind codec stored    stored is its size on disk

    With --json: one object a file, on a line of its own, with the Main datasets that fit.
    """
    from usid_tasks import catalog_text
    from usid_tasks.catalog.terms import parse_terms
    from usid_tasks.report import count, plain_console

    terms = parse_terms(term)
    with _open(config) as opened:
        found = opened.search(terms, limit=limit or None)
    if as_json or found:
        _tell(found, as_json=as_json, show=catalog_text.print_sources)
    if not as_json:
        plain_console().print(f"{count(len(found), 'file')} found")


def export(
    *,
    format: Annotated[  # noqa: A002 - the option's name
        ExportFormat,
        typer.Option("--format", help="json: everything. csv: a row for each Main dataset."),
    ] = ExportFormat.JSON,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Instead of standard output.")
    ] = None,
    config: Config = None,
) -> None:
    """Print the whole catalogue for other programs.

    JSON is one object: "sources", each with its Main datasets, attributes, findings and stores,
    and "runs".
    """
    with _open(config) as opened:
        if to is None:
            opened.export(typer.get_text_stream("stdout"), format=format.value)
            return
        from usid_tasks.catalog.exports import export_file

        export_file(to, lambda stream: opened.export(stream, format=format.value))


def rebuild(
    dest: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DEST", help="Roots of stores; all that are known without any."),
    ] = None,
    *,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make the catalogue anew from the receipts.

    What was lost comes back, and what is no longer there is taken out. Nothing in DEST is
    changed, and runs may go on meanwhile.

    With --json: one object, with the number of "files" and where the catalogue is.
    """
    from usid_tasks.progress import open_progress
    from usid_tasks.report import count

    with _open(config) as opened, open_progress(is_quiet=as_json) as progress:
        n_files = opened.rebuild(dest or (), progress=progress)
        where = opened.where
    if as_json:
        typer.echo(json.dumps({"files": n_files, "catalog": where}))
    else:
        typer.echo(f"{count(n_files, 'file')} recorded in {where}")


_COMMANDS: dict[Callable[..., None], tuple[str, str]] = {
    list_: ("list", "usid catalog list --limit 20"),
    show: ("show", "usid catalog show afm/scan_0042.h5"),
    search: (
        "search",
        """usid catalog search quantity=Current dtype=float32 dim=Bias "instrument~Cypher"
  usid catalog search state=failed since=2026-11-01""",
    ),
    export: ("export", "usid catalog export --format csv --to catalog.csv"),
    rebuild: ("rebuild", "usid catalog rebuild /stores"),
}
for _command, (_name, _example) in _COMMANDS.items():
    catalog.command(_name, epilog=f"\b\nExample:\n  {_example}")(_command)


def _open(config: Path | None) -> Catalog:
    from usid_tasks.catalog.catalog import Catalog
    from usid_tasks.settings import load_settings

    return Catalog.open(load_settings(config))


def _tell(records: Sequence[dict[str, Any]], *, as_json: bool, show: Callable[..., None]) -> None:
    from usid_tasks.report import plain_console

    if as_json:
        _print_lines(records)
    else:
        show(plain_console(), records)


def _print_lines(records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        typer.echo(json.dumps(record))
