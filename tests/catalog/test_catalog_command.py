"""``usid catalog``: what people and programs see, and that its page is true."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from usid_tasks.catalog.catalog import Catalog
from usid_tasks.catalog.runs import RunRecord, write_run
from usid_tasks.catalog.terms import FIELDS
from usid_tasks.commands.catalog import catalog as commands
from usid_tasks.errors import RefusedError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "catalog.md"


@pytest.fixture
def usid_catalog(dest, tmp_path, monkeypatch):
    """What runs a command on a catalogue of its own."""
    monkeypatch.setenv("USID_SITE__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("USID_CONFIG", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(commands, list(arguments))

    assert run("rebuild", str(dest)).exit_code == 0
    return run


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.splitlines()


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in lines(result)]


def test_list_shows_each_file_with_its_main_datasets_and_the_counts(usid_catalog):
    told = lines(usid_catalog("list"))
    assert told[0].split() == ["state", "file", "size", "finished", "(UTC)"]
    (at,) = [n for n, line in enumerate(told) if line.startswith("done ")]
    assert "afm/sound.h5" in told[at]
    assert told[at + 1].strip() == (
        "/Measurement_000/Channel_000/Raw_Data  Current (nA)  float32  X 4 × Bias 3"
    )
    assert told[-1] == "4 files: 1 done, 1 failed, 1 not USID, 1 partial"


def test_list_tells_what_a_limit_hides(usid_catalog):
    told = lines(usid_catalog("list", "--limit", "1"))
    assert told[-1].endswith("(1 shown; --limit 0 shows all)")
    assert len(records(usid_catalog("list", "--limit", "1", "--json"))) == 1
    assert len(records(usid_catalog("list", "--limit", "0", "--json"))) == 4


def test_an_empty_catalogue_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("USID_SITE__STATE_DIR", str(tmp_path / "empty"))
    told = lines(CliRunner().invoke(commands, ["list"]))
    assert told[-1].startswith("`usid catalog rebuild DEST`")
    assert lines(CliRunner().invoke(commands, ["list", "--json"])) == []


def test_list_runs(usid_catalog, dest):
    write_run(dest, RunRecord(run="r1", started="2026-11-01T10:00:00Z", counts={"done": 2}))
    usid_catalog("rebuild")
    told = lines(usid_catalog("list", "runs"))
    assert "2 done" in told[-2]
    assert told[-1] == "2 runs"
    assert records(usid_catalog("list", "runs", "--json"))[-1]["counts"] == {"done": 2}


def test_show_tells_all_that_is_known(usid_catalog, dest):
    told = "\n".join(lines(usid_catalog("show", "sound.h5")))
    assert re.search(r"X +4 +0 to 3e-06 m +uniform", told)
    assert re.search(r"instrument_name +Cypher S +/\n", told)
    assert str(dest / "afm" / "sound.h5.zarr") in told
    (record,) = records(usid_catalog("show", "sound.h5", "--json"))
    assert record["key"] == "afm/sound.h5"
    broken = "\n".join(lines(usid_catalog("show", "broken.h5")))
    assert re.search(r"R9 +error", broken)


def test_show_refuses_what_is_not_there(usid_catalog):
    result = usid_catalog("show", "nothing.h5")
    assert isinstance(result.exception, RefusedError)
    assert "usid catalog search" in result.exception.remedy


def test_search_counts_what_it_found(usid_catalog):
    told = lines(usid_catalog("search", "quantity=Current", "dim=Bias", "instrument~Cypher"))
    assert told[-1] == "1 file found"
    assert lines(usid_catalog("search", "quantity=Currant")) == ["0 files found"]
    assert records(usid_catalog("search", "state=failed", "--json"))[0]["key"] == "broken.h5"


def test_export_to_a_file_is_that_of_standard_output(usid_catalog, tmp_path):
    for form in ("json", "csv"):
        file = tmp_path / f"catalog.{form}"
        assert lines(usid_catalog("export", "--format", form, "--to", str(file))) == []
        printed = usid_catalog("export", "--format", form).stdout_bytes
        assert file.read_bytes() == printed
    assert len(json.loads((tmp_path / "catalog.json").read_text())["sources"]) == 4
    with (tmp_path / "catalog.csv").open(newline="") as table:
        assert len(list(csv.DictReader(table))) == 5
    assert list(tmp_path.glob(".*.tmp")) == []


def test_an_export_that_fails_leaves_the_former_file(usid_catalog, tmp_path, monkeypatch):
    file = tmp_path / "catalog.json"
    file.write_text("former")

    def fail(self, stream, **_):
        stream.write("half")
        raise RefusedError("catalog", "is broken", "Mend it.")

    monkeypatch.setattr(Catalog, "export", fail)
    assert isinstance(usid_catalog("export", "--to", str(file)).exception, RefusedError)
    assert file.read_text() == "former"
    assert list(tmp_path.glob(".*.tmp")) == []


def test_rebuild_restores_a_lost_catalogue(usid_catalog, dest, tmp_path):
    before = usid_catalog("export").stdout
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    assert "nothing is recorded" in usid_catalog("list").stdout
    told = json.loads(usid_catalog("rebuild", str(dest), "--json").stdout)
    assert told == {"files": 4, "catalog": str(tmp_path / "state" / "catalog.sqlite")}
    assert usid_catalog("export").stdout == before


def test_names_from_files_cannot_move_the_cursor(usid_catalog, dest):
    place = dest / "broken.h5.receipt.json"
    record = json.loads(place.read_text())
    record["reason"] = "red \x1b[31m\nnew line"
    place.write_text(json.dumps(record))
    usid_catalog("rebuild")
    for command in (["list"], ["show", "broken.h5"], ["search", "broken"]):
        told = usid_catalog(*command).stdout
        assert r"red \x1b[31m\nnew line" in told
        assert "\x1b" not in told


def test_the_help_names_every_field():
    told = CliRunner().invoke(commands, ["search", "--help"]).stdout
    assert [field for field in FIELDS if not re.search(rf"\b{field}\b", told)] == []


def page_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    return [
        line for block in blocks for line in block.splitlines() if line.startswith("usid catalog")
    ]


def test_the_python_of_the_page_runs(usid_catalog, dest, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    exec(compile(code.replace('"/stores"', repr(str(dest))), str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("afm/sound.h5 blake3-tree-4MiB:")


def test_the_page_has_commands():
    assert len(page_commands()) > 5


@pytest.mark.parametrize("line", page_commands())
def test_the_commands_of_the_page_run(usid_catalog, dest, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    _, _, *arguments = shlex.split(line, comments=True)
    given = [str(dest) if one == "/stores" else one for one in arguments]
    lines(usid_catalog(*given))
