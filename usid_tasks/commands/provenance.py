"""``usid provenance``: where results come from, and whether all of it is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usid_tasks.commands.options import WELL, WRONG, AsJson, echo_json


def provenance(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An HDF5 file with results, or a store of one.")
    ],
    group: Annotated[
        str | None,
        typer.Argument(
            metavar="[GROUP]",
            help="A results group, or a dataset in one; all of them if left out.",
        ),
    ] = None,
    *,
    search: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where sources that were moved may be; may be repeated."),
    ] = None,
    as_json: AsJson = False,
    prov: Annotated[
        Path | None,
        typer.Option(metavar="OUT.json", help="Write the chain as W3C PROV-JSON, too."),
    ] = None,
) -> None:
    """Show where results come from, and verify it.

    The chain goes from results back to their raw file.

    Every dataset is read again. A link is verified; or moved: found elsewhere, and verified; or
    changed: what differs is told; or missing; or unknown: nothing was recorded to verify it by.
    The exit status is 0 where all links are verified, moved ones included, else 1.

    With --json: one object with a list of all links.
    """
    import json

    from usid_tasks import durable
    from usid_tasks.provenance.chain import chain, is_well
    from usid_tasks.provenance.prov_json import to_prov_json

    links = chain(file, group, search=search or ())
    if prov is not None:
        records = [link.record for link in links if link.record is not None]
        durable.write_file(prov, (json.dumps(to_prov_json(records), indent=1) + "\n").encode())
    if as_json:
        echo_json({"file": str(file), "links": [link.to_json() for link in links]})
    else:
        from usid_tasks.provenance.showing import print_chain
        from usid_tasks.report import plain_console

        print_chain(plain_console(), links)
    raise typer.Exit(WELL if is_well(links) else WRONG)
