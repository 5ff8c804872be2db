"""``usid convert``: which format is made, what is refused, and what is told; by the command."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from index_tables import grid
from typer.testing import CliRunner
from usid_files import MAIN, Side, line, write_file

from usid_tasks import cli
from usid_tasks.errors import RefusedError
from usid_tasks.progress import NullProgress
from usid_tasks.settings import load_settings
from usid_tasks.stores.registry import FORMATS, choose_format, load_store

OF_A_FILE = [name for name, line_ in FORMATS.items() if line_.source == "file"]
OF_SIGNALS = ("hspy", "zspy", "nsid")
RASTER = Side(grid({"Y": 4, "X": 3}), ["X", "Y"])


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Return an h5USID file of 12 x 5 values."""
    return write_file(tmp_path / "scan.h5", RASTER, line("Bias", np.linspace(-1, 1, 5)))


@pytest.fixture
def store(scan: Path) -> Path:
    """Return a published store of the file."""
    done = run(scan, scan.with_name("scan.zarr"))
    assert done == (0, done[1])
    return scan.with_name("scan.zarr")


def run(*arguments: object) -> tuple[int, str]:
    """Return the exit status of `usid convert` in this process and what it printed."""
    told = CliRunner().invoke(cli.app, ["convert", *map(str, arguments)])
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    return told.exit_code, told.output


def need(name: str) -> None:
    """Skip where the module of a format, or what it needs, is not there."""
    for package in FORMATS[name].packages:
        pytest.importorskip(package)


# every format


@pytest.mark.parametrize("name", OF_A_FILE)
def test_every_format_of_a_file_is_made(scan: Path, name: str) -> None:
    need(name)
    dest = scan.with_name(f"made.{'h5' if name == 'nsid' else name}")
    status, told = run(scan, dest, "--format", name)
    assert status == 0
    assert told.startswith("done: ")
    assert str(dest) in told.replace("\n", "")
    assert dest.is_file() == (name in ("hspy", "nsid"))
    assert dest.is_dir() == (name in ("zarr", "zspy"))


def test_a_store_becomes_its_file(store: Path) -> None:
    out = store.with_name("back.h5")
    status, told = run(store, out, "--format", "usid", "--memory", "64MiB", "--workers", "1")
    assert status == 0
    assert told.startswith(f"done: 1 Main dataset in {out}, ")
    assert "verified: structure, attributes and the digest of every array" in told
    with h5py.File(store.with_name("scan.h5")) as one, h5py.File(out) as two:
        assert one[MAIN][()].tobytes() == two[MAIN][()].tobytes()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "zarr"])
def test_what_was_made_as_json(store: Path, name: str) -> None:
    need(name)
    source = store if name == "usid" else store.with_name("scan.h5")
    dest = store.with_name("made.x")
    suffixes = FORMATS[name].suffixes
    dest = dest.with_suffix(suffixes[0] if suffixes else ".h5")
    status, told = run(source, dest, "--format", name, "--json")
    assert status == 0
    record = json.loads(told)
    assert record["format"] == name
    assert record["source"] == str(source)
    assert record["source_kind"] == FORMATS[name].source
    assert record["path"] == str(dest)
    files = [dest] if dest.is_file() else [each for each in dest.rglob("*") if each.is_file()]
    assert record["size_bytes"] == sum(each.stat().st_size for each in files) > 0
    assert record["datasets"] == [MAIN]
    assert record["verified"]
    assert all(isinstance(sentence, str) for sentence in record["told"])


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_there_gives_way_only_when_asked(store: Path, name: str) -> None:
    need(name)
    source = store if name == "usid" else store.with_name("scan.h5")
    dest = store.with_name(f"made.{'h5' if name in ('nsid', 'usid') else name}")
    command = (source, dest, "--format", name)
    assert run(*command)[0] == 0
    with pytest.raises(RefusedError, match="is there already"):
        run(*command)
    assert run(*command, "--overwrite")[0] == 0
    superseded = list((store.parent / ".usid").glob("superseded/**/zarr.json"))
    assert bool(superseded) == (name == "zarr")


@pytest.mark.parametrize("name", FORMATS)
def test_the_entry_of_every_format_is_the_same(store: Path, name: str) -> None:
    need(name)
    source = store if name == "usid" else store.with_name("scan.h5")
    dest = store.parent / f"new/made.{'h5' if name in ('nsid', 'usid') else name}"
    made = load_store(FORMATS[name]).write(
        source, dest, datasets=(), settings=load_settings(env={}), overwrite=False,
        progress=NullProgress(),
    )  # fmt: skip
    assert (made.format, made.path, made.source_kind) == (name, dest, FORMATS[name].source)
    assert made.datasets == (MAIN,)
    assert made.told == () or name in OF_SIGNALS  # they tell what a signal cannot hold


# which format


@pytest.mark.parametrize(
    ("kind", "dest", "name"),
    [
        ("file", "a.zarr", "zarr"),
        ("file", "a.h5.ZARR", "zarr"),
        ("file", "a.hspy", "hspy"),
        ("file", "a.zspy", "zspy"),
        ("store", "a.h5", "usid"),
    ],
)
def test_a_suffix_that_leaves_no_doubt_is_enough(
    tmp_path: Path, kind: str, dest: str, name: str
) -> None:
    source = tmp_path / "source"
    source.mkdir() if kind == "store" else source.touch()
    assert choose_format(source, tmp_path / dest, None).name == name


@pytest.mark.parametrize(
    ("kind", "dest", "name", "what", "remedy"),
    [
        ("file", "a.h5", None, "does not tell which", "--format zarr, hspy, zspy or nsid"),
        ("file", "a", None, "does not tell which", "--format zarr, hspy, zspy or nsid"),
        ("store", "a.hdf5", None, "does not tell which", "--format usid"),
        ("store", "a.zarr", None, "is a folder", "usid rechunk"),
        ("store", "a.zarr", "zarr", "is a folder", "usid rechunk"),
        ("store", "a.hspy", None, "is a folder", "usid convert STORE OUT.h5 --format usid"),
        ("store", "a.x", "nsid", "is a folder", "usid convert STORE OUT.h5 --format usid"),
        ("file", "a.h5", "usid", "is a file", "usid convert FILE STORE.zarr"),
        ("file", "a.h5", "tiff", "no format 'tiff'", "zarr, usid, hspy, zspy or nsid"),
        ("nothing", "a.zarr", None, "is not there", "h5USID file, or a store"),
        ("nothing", "a.h5", "usid", "is not there", "h5USID file, or a store"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(
    tmp_path: Path, kind: str, dest: str, name: str | None, what: str, remedy: str
) -> None:
    source = tmp_path / "source"
    if kind != "nothing":
        source.mkdir() if kind == "store" else source.touch()
    asked = () if name is None else ("--format", name)
    with pytest.raises(RefusedError) as refused:
        run(source, tmp_path / dest, *asked)
    assert what in refused.value.what
    assert remedy in refused.value.remedy
    assert {entry.name for entry in tmp_path.iterdir()} <= {"source"}


VALUES = {
    "dataset": ("--dataset", MAIN), "intent": ("--intent", "images"), "codec": ("--codec", "none"),
    "objective": ("--objective", "small"), "memory": ("--memory", "1GiB"),
    "workers": ("--workers", "1"), "scheduler": ("--scheduler", "threads"), "plan": ("--plan",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option"),
    [(n, o) for n in FORMATS for o in VALUES if o not in FORMATS[n].options],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, name: str, option: str) -> None:
    source = tmp_path / "source"
    source.mkdir() if name == "usid" else source.touch()
    with pytest.raises(RefusedError) as refused:
        run(source, tmp_path / "out.x", "--format", name, *VALUES[option])
    assert refused.value.where == f"--{option}"
    assert f"the format {name}" in refused.value.what
    assert "--memory" in refused.value.remedy
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_every_option_is_told_of_some_format() -> None:
    assert frozenset().union(*(line_.options for line_ in FORMATS.values())) == set(VALUES)


def test_a_store_is_not_turned_back_in_part(store: Path) -> None:
    with pytest.raises(RefusedError, match="Leave out --dataset"):
        load_store(FORMATS["usid"]).write(
            store, store.with_name("out.h5"), datasets=[MAIN], settings=load_settings(env={}),
            overwrite=False, progress=NullProgress(),
        )  # fmt: skip
    assert not store.with_name("out.h5").exists()


def test_a_missing_package_is_told_with_the_extra(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rsciio" else plain(name)
    )
    with pytest.raises(RefusedError, match="rsciio, which is not installed") as refused:
        run(scan, scan.with_name("made.hspy"))
    assert "pip install 'usid-flows[formats]'" in refused.value.remedy


# the process


def test_exit_statuses_and_errors_by_the_process(store: Path) -> None:
    code = "from usid_tasks.cli import main; main()"

    def usid(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "convert", *map(str, arguments)],
            env={k: v for k, v in os.environ.items() if not k.startswith("USID_")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    out = store.with_name("back.h5")
    done = usid(store, out)
    assert (done.returncode, done.stderr) == (0, "")
    again = usid(store, out)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.splitlines() == [
        f"error: {out}", "  is there already", "  Name another file, or add --overwrite.",
    ]  # fmt: skip
    refused = usid(store, store.with_name("x.h5"), "--intent", "images")
    assert refused.returncode == 2
    assert "means nothing to the format usid" in refused.stderr


def test_the_registry_and_a_conversion_load_only_what_they_use(scan: Path) -> None:
    work = f"""
import sys
import usid_tasks.stores.registry
print(sorted({{"numpy", "h5py", "zarr", "pydantic"}} & set(sys.modules)))
sys.argv = ["usid", "convert", {str(scan)!r}, {str(scan.with_name("made.zarr"))!r}]
from usid_tasks import cli
try:
    cli.main()
except SystemExit as leaving:
    assert leaving.code == 0
others = ["usid", "hspy", "zspy", "nsid"]
print([n for n in others if f"usid_tasks.stores.{{n}}" in sys.modules])
print(sorted({{"rsciio", "hyperspy", "sidpy", "pyNSID", "pyUSID"}} & set(sys.modules)))
"""
    told = subprocess.run(
        [sys.executable, "-c", work], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [told[0], *told[-2:]] == ["[]", "[]", "[]"]
