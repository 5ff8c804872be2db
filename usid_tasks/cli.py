"""The command ``usid``: its list of commands, and how failures are told.

Nothing but typer is imported before a command runs, so that ``usid --help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from usid_tasks import __version__
from usid_tasks.commands.catalog import HELP as CATALOG_HELP
from usid_tasks.commands.catalog import catalog
from usid_tasks.commands.config import show
from usid_tasks.commands.convert import convert
from usid_tasks.commands.demo import demo
from usid_tasks.commands.ingest import ingest
from usid_tasks.commands.inspect import inspect
from usid_tasks.commands.options import INTERRUPTED, NOT_RUN
from usid_tasks.commands.process import process
from usid_tasks.commands.provenance import provenance
from usid_tasks.commands.rechunk import rechunk
from usid_tasks.commands.tools import tools
from usid_tasks.commands.validate import rules, validate
from usid_tasks.commands.verify import verify
from usid_tasks.errors import UsidError
from usid_tasks.printable import printable

_HELP = """Read, validate and convert h5USID microscopy files.

\b
Try it:
  usid demo                        make sample files and convert them
  usid validate scan.h5            what is wrong with a file
  usid inspect scan.h5             what is in it
  usid ingest /data --to /stores   convert a folder; repeat it at will
  usid process scan.h5 --tool svd  compute over Main datasets; `usid tools` lists what

\b
Exit status of every command:
  0    all is well
  1    something in the data is wrong, or a file failed
  2    the command could not run; standard error says what to do
  130  interrupted
"""

_EXAMPLES: dict[Callable[..., None], str] = {
    ingest: "usid ingest /data/afm stem=/data/stem --to /stores --config site.yaml",
    validate: "usid validate /data/afm --severity warning --ignore R26",
    inspect: "usid inspect scan.h5",
    convert: "usid convert scan.h5 scan.h5.zarr --dataset /Measurement_000/Channel_000/Raw_Data",
    rechunk: "usid rechunk scan.h5.zarr spectra.zarr --intent spectra --memory 1GiB",
    process: "usid process scan.h5 --tool svd -p n_components=16",
    tools: "usid tools svd",
    provenance: "usid provenance scan.h5.results.h5 --search /archive",
    verify: "usid verify /stores",
    rules: "usid rules --markdown > rules.md",
    demo: "usid demo /tmp/usid-demo",
    show: "USID_INGEST__SETTLE_S=300 usid config show --config site.yaml",
}

app = typer.Typer(
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(catalog, name="catalog", help=CATALOG_HELP)
app.add_typer(_config, name="config", help="Show the settings and where each came from.")
for _command, _example in _EXAMPLES.items():
    _parent = _config if _command is show else app
    _parent.command(epilog=f"\b\nExample:\n  {_example}")(_command)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it
    if asked:
        typer.echo(f"usid {__version__}")
        raise typer.Exit


def _show_tracebacks(asked: bool) -> None:  # noqa: FBT001 - typer calls it
    if asked:
        os.environ["USID_DEBUG"] = "1"  # a variable, so that worker processes tell the same


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", callback=_show_tracebacks, help="Show tracebacks; like USID_DEBUG=1."
        ),
    ] = False,
) -> None:
    del version, debug  # their callbacks have done it


_COLLECT_AFTER = 50_000
"""Objects made between two searches for cycles: importing alone makes some 100,000 that stay."""


def main() -> None:
    """Run the command line and leave with its exit status.

    A :class:`~usid_tasks.errors.UsidError` is told in its three parts. Anything unexpected is
    told in a sentence, its traceback kept in a file; ``--debug`` shows tracebacks at once.
    """
    # threads that OpenBLAS would start wait in a busy loop, on cores that copy
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    try:
        app(prog_name="usid")
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _complain("usid", "interrupted", "What is finished stays; run the same command again.")
        raise
    except UsidError as error:
        if _is_debugging():
            traceback.print_exc()
        _complain(error.where, error.what, error.remedy)
        sys.exit(NOT_RUN)
    except Exception as error:  # noqa: BLE001 - the last resort: told, and kept with its traceback
        what = f"unexpected {type(error).__name__}: {error}"
        _complain(getattr(error, "filename", None) or "usid", what, _keep_traceback())
        sys.exit(NOT_RUN)
    finally:
        gc.freeze()  # the memory goes with the process: leaving need not look through it


def _complain(where: object, what: str, remedy: str) -> None:
    with suppress(OSError):  # nobody may be listening any more
        for line in (
            f"error: {printable(where)}",
            f"  {printable(what)}",
            f"  {printable(remedy)}",
        ):
            typer.echo(line, err=True)


def _keep_traceback() -> str:
    """Keep the traceback of the current exception, and return where it is to be found."""
    shown = "The traceback stands above; please report it."
    if _is_debugging():
        traceback.print_exc()
        return shown
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="usid-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(f"usid {__version__}: {sys.argv!r}\n")
            traceback.print_exc(file=log)
    except OSError:
        traceback.print_exc()
        return shown
    return f"The traceback is in {log.name}; please report it. `usid --debug` shows it at once."


def _is_debugging() -> bool:
    return os.environ.get("USID_DEBUG", "") not in ("", "0")
