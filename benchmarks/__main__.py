"""``python -m benchmarks COMMAND``: measure, print, and write a section of RESULTS.md.

Exit status: 0, 1 where an outcome is wrong, 2 where nothing could be measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import convert as converting
from benchmarks import process as processing
from benchmarks import read as reading
from benchmarks import rechunk as rechunking
from benchmarks import scan as scanning
from benchmarks import write as writing
from benchmarks.contest import Bench
from benchmarks.data import Values
from benchmarks.machine import describe_machine
from benchmarks.results import Section, print_section, write_section
from usid_tasks.errors import RefusedError, UsidError, VerificationError
from usid_tasks.sizes import parse_size

WRONG, NOT_RUN = 1, 2

Folder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where data is made and removed; the temporary folder."),
]
Size = Annotated[str, typer.Option(metavar="SIZE", help="Bytes of the values, such as 64MiB.")]
Repeats = Annotated[int, typer.Option(min=1, metavar="N", help="Timed runs of each.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the values.")]
NoWrite = Annotated[bool, typer.Option("--no-write", help="Leave RESULTS.md alone.")]

app = typer.Typer(
    help="Benchmarks of usid-flows against today's way, in turn, in one run.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def convert(
    *,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="contiguous, chunked or gzip; may be repeated."),
    ] = None,
    values: Annotated[
        Values | None,
        typer.Option(help="What files hold; noise, and counts in the gzip file, without it."),
    ] = None,
    folder: Folder = None,
    size: Size = "2GiB",
    repeats: Repeats = 3,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Convert files: contiguous and chunked ones of a size, a gzip one of a quarter."""
    known = [each.name for each in converting.VARIANTS]
    for name in variant or ():
        if name not in known:
            raise RefusedError("--variant", f"{name!r} is none", f"Use {', '.join(known)}.")
    _bench(
        lambda bench: converting.run(bench, variant or known, values),
        folder, size, repeats, seed, is_written=not no_write,
    )  # fmt: skip


@app.command()
def rechunk(
    *,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="What we and a P2P cluster may hold.")
    ] = "1GiB",
    cluster_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="What another P2P cluster may hold.")
    ] = "4GiB",
    folder: Folder = None,
    size: Size = "2GiB",
    repeats: Repeats = 3,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Rechunk a store, against Dask in memory and by P2P."""
    bounds = {
        "memory_bytes": _size("--memory", memory),
        "cluster_bytes": _size("--cluster-memory", cluster_memory),
    }
    _bench(
        lambda bench: rechunking.run(bench, **bounds),
        folder, size, repeats, seed, is_written=not no_write,
    )  # fmt: skip


@app.command()
def scan(
    *,
    files: Annotated[int, typer.Option(min=1, metavar="N", help="How many files.")] = 1000,
    folder: Folder = None,
    size: Size = "1MiB",
    repeats: Repeats = 3,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Judge and open many files of four channels; the size is that of one file's values."""
    _bench(
        lambda bench: scanning.run(bench, n_files=files),
        folder, size, repeats, seed, is_written=not no_write,
    )  # fmt: skip


@app.command()
def read(
    *,
    folder: Folder = None,
    size: Size = "512MiB",
    repeats: Repeats = 3,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Read point spectra and images from stores of each intent."""
    _bench(reading.run, folder, size, repeats, seed, is_written=not no_write)


@app.command()
def write(
    *,
    folder: Folder = None,
    size: Size = "1GiB",
    repeats: Repeats = 3,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Write a Main dataset, against a single writer through h5py."""
    _bench(writing.run, folder, size, repeats, seed, is_written=not no_write)


@app.command()
def process(
    *,
    spectra: Annotated[
        int, typer.Option(min=4, metavar="N", help="Spectra of each noise level that are fitted.")
    ] = 4096,
    folder: Folder = None,
    size: Size = "4GiB",
    repeats: Repeats = 2,
    seed: Seed = 1,
    no_write: NoWrite = False,
) -> None:
    """Run tools: fits against a loop of SciPy's, svd in little memory, two workers and one."""
    _bench(
        lambda bench: processing.run(bench, n_spectra=spectra),
        folder, size, repeats, seed, is_written=not no_write,
    )  # fmt: skip


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise RefusedError(option, f"{text!r}, expected {error}", "Give 64MiB.") from error


def _bench(
    measure: Callable[[Bench], Section],
    folder: Path | None,
    size: str,
    repeats: int,
    seed: int,
    *,
    is_written: bool,
) -> None:
    """Measure in a temporary folder, print what was found, and write it."""
    size_bytes, load_before = _size("--size", size), os.getloadavg()[0]
    quiet = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="usid-benchmark-", dir=folder) as place:
        bench = Bench(
            folder=Path(place),
            size_bytes=size_bytes,
            repeats=repeats,
            seed=seed,
            tell=lambda line: quiet.print(line, markup=False),
        )
        found = measure(bench)
        machine = describe_machine(Path(place), load_before=load_before)
    about = {
        "command": _command_line(sys.argv[1:]),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **machine,
    }
    section = Section(found.name, found.figures, found.ratios, found.notes, about)
    print_section(Console(width=200 if not sys.stdout.isatty() else None), section)
    if is_written:
        write_section(section)


def _command_line(arguments: list[str]) -> str:
    """Return the command line without the folder, which means nothing elsewhere."""
    kept, is_folder = [], False
    for argument in arguments:
        if not is_folder and not argument.startswith("--folder"):
            kept.append(argument)
        is_folder = argument == "--folder"
    return f"`python -m benchmarks {' '.join(kept)}`"


def main() -> None:
    """Run the command line and leave with its exit status."""
    try:
        app(prog_name="python -m benchmarks")
    except UsidError as error:
        typer.echo(f"error: {error.where}\n  {error.what}\n  {error.remedy}", err=True)
        sys.exit(WRONG if isinstance(error, VerificationError) else NOT_RUN)


if __name__ == "__main__":
    main()
