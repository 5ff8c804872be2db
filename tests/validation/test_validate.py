"""Files and folders: what is looked at, which findings are told, what cannot be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from cases import BIAS, CHANNEL, POSITION, SPOTS, WARNING, stamp, write_clean
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from usid_files import Side, channel, line, write_file, write_main

from usid_tasks.checks.names import node_names, variable_names
from usid_tasks.cli import app
from usid_tasks.errors import FileBusyError, SettingsError, UsidError
from usid_tasks.model import Finding, Severity
from usid_tasks.settings import load_settings
from usid_tasks.tree import build_tree
from usid_tasks.usid import read_usid
from usid_tasks.validate import (
    Thresholds,
    filtered,
    findings_of,
    thresholds_from,
    validate_file,
    validate_paths,
)

REAL = {
    "AFM_Force_Curve.h5": {"A2": 1, "R26": 1},
    "Nodax_Spectral_Array.ptir": {"R12": 7, "R25": 1, "R26": 1},
    "SingFreqPFM_0003.h5": {"R26": 1},
    "simulated_STEM_Image.h5": {"R26": 1, "S1": 1},
    "sparse_sampling.h5": {"S5": 5, "R13": 3, "R21": 2, "R22": 1, "R26": 1, "P1": 6},
}
"""How often each rule is broken by each real file."""


def paths_of(folder: Path, **options: Any) -> list[str]:
    found = validate_paths([folder], **options)
    return [path.relative_to(folder).as_posix() for path, _ in found]


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_sound(shared_data: Path, name: str) -> None:
    findings = validate_file(shared_data / name)
    assert not [finding for finding in findings if finding.severity is Severity.ERROR]
    assert Counter(finding.id for finding in findings) == REAL[name]
    assert not read_usid(shared_data / name).broken


def test_real_files_through_the_command(shared_data: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(shared_data), "--json"])
    assert done.exit_code == 0
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(findings) == sum(sum(counts.values()) for counts in REAL.values())
    assert all(Finding.from_json(finding).to_json() == finding for finding in findings)


def test_a_folder_is_searched_by_content(tmp_path: Path) -> None:
    for name in ("b/scan.h5", "a/notes.txt", "c.dat", ".snapshot/old.h5", "store.zarr/x.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    for name in ("b/scan.h5", "c.dat", ".snapshot/old.h5", "store.zarr/x.h5"):
        write_clean(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no HDF5")
    (tmp_path / "gone.h5").symlink_to(tmp_path / "nowhere")
    assert paths_of(tmp_path) == ["c.dat", "b/scan.h5"]
    site = load_settings(env={}, overrides={"ingest": {"ignore": ["*.dat"]}})
    assert paths_of(tmp_path, settings=site) == [".snapshot/old.h5", "b/scan.h5"]


def test_a_file_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5")
    assert len(list(validate_paths([path, tmp_path, path]))) == 1


def test_a_named_file_is_looked_at_whatever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no HDF5")
    ((_, findings),) = validate_paths([path])
    assert [finding.id for finding in findings] == ["F1"]


def test_what_does_not_exist_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write_clean(tmp_path / "scan.h5")
    with pytest.raises(UsidError, match="absent"):
        next(validate_paths([tmp_path, tmp_path / "absent"]))
    with pytest.raises(UsidError, match="absent"):
        validate_file(tmp_path / "absent")


@contextmanager
def a_writer_of(path: Path) -> Iterator[None]:
    """Let another program hold the file open for writing."""
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'r+');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        yield
        writer.communicate()


def test_a_busy_file_does_not_keep_the_others_from_being_validated(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5", "c.h5"):
        write_clean(tmp_path / name)
    with a_writer_of(tmp_path / "a.h5"):
        with pytest.raises(FileBusyError):
            validate_file(tmp_path / "a.h5")
        found = validate_paths([tmp_path])
        assert [next(found)[0].name for _ in range(2)] == ["b.h5", "c.h5"]
        with pytest.raises(FileBusyError, match=r"a\.h5"):
            next(found)
        with a_writer_of(tmp_path / "b.h5"), pytest.raises(UsidError, match="2 files or folders"):
            list(validate_paths([tmp_path]))


def test_a_folder_that_cannot_be_searched_is_told_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_clean(tmp_path / name / "scan.h5")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = validate_paths([tmp_path])
    assert next(found) == (tmp_path / "b" / "scan.h5", [])
    with pytest.raises(UsidError, match=r"a: cannot be searched \(Permission denied\)"):
        next(found)


def test_findings_are_filtered(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", missing=["quantity"], units="None", chunks=(12, 2))
    findings = validate_file(path)
    assert [finding.id for finding in findings] == ["R3", "R6", "R18"]
    assert [f.id for f in filtered(findings, select=["R6", "R3"])] == ["R3", "R6"]
    assert [f.id for f in filtered(findings, ignore=["R6"])] == ["R3", "R18"]
    assert [f.id for f in filtered(findings, severity=WARNING)] == ["R3"]
    for options, ids, status in (
        (["--select", "R6"], ["R6"], 0),
        (["--ignore", "R6", "--ignore", "R18"], ["R3"], 1),
        (["--severity", "error"], ["R3"], 1),
    ):
        done = CliRunner().invoke(app, ["validate", str(path), "--json", *options])
        assert [json.loads(told)["id"] for told in done.stdout.splitlines()] == ids
        assert done.exit_code == status


def test_a_rule_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no rule 'r7'.*Did you mean R7"):
        filtered([], select=["r7"])
    with pytest.raises(SettingsError, match=r"validate\.ignore"):
        filtered([], ignore=["R99"])
    site = load_settings(env={}, overrides={"validate": {"select": ["Q1"]}})
    with pytest.raises(SettingsError):
        next(validate_paths([write_clean(tmp_path / "scan.h5")], site))


def test_thresholds_come_from_the_settings() -> None:
    values = {"uniform_tolerance": 0.5, "chunk_min": 1, "chunk_max": 2, "uncompressed_info": 3}
    site = load_settings(env={}, overrides={"validate": values})
    assert thresholds_from(site) == Thresholds(**values)
    assert thresholds_from(None) == thresholds_from(load_settings(env={})) == Thresholds()


def test_the_tolerance_decides_what_is_uniform(tmp_path: Path) -> None:
    bent = line("Bias", np.array([0, 1.2, 2, 3]))
    path = write_clean(tmp_path / "scan.h5", spectroscopic=bent, attrs={})
    site = load_settings(env={}, overrides={"validate": {"uniform_tolerance": 0.3}})
    assert "A1" in {finding.id for finding in validate_file(path)}
    assert "A1" not in {finding.id for finding in validate_file(path, site)}


def test_findings_need_no_second_look_at_the_file(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", missing=["quantity"], chunks=(12, 2))
    want = validate_file(path)
    parsed = read_usid(path)
    path.unlink()
    assert findings_of(parsed) == want
    assert [f for f in want if f.severity is Severity.ERROR] == [
        f for f in parsed.findings if f.severity is Severity.ERROR
    ]


def test_shared_tables_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        side = Side(SPOTS, ["X", "Y"], index_dtype="u2")
        first = write_main(channel(file), position=side, spectroscopic=BIAS)
        tables = {name: file[first.attrs[name]] for name in first.attrs if "_" in name}
        for number in range(1, 5):
            write_main(channel(file, 0, number), position=side, spectroscopic=BIAS, tables=tables)
        stamp(file)
    counts = Counter(finding.id for finding in validate_file(path))
    assert counts == {"R13": 1, "R21": 1, "R25": 1}


def test_errors_come_first_and_rules_in_their_order(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", missing=["quantity"], units="None", chunks=(12, 2))
    with h5py.File(path, "r+") as file:
        write_main(
            channel(file, 1), "Raw-Data", position=POSITION, spectroscopic=line("B", np.ones(5))
        )
    keys = [(f.severity, f.id) for f in validate_file(path)]
    assert keys == [
        ("error", "R3"), ("warning", "R5"), ("warning", "A3"),
        ("info", "R6"), ("info", "R13"), ("info", "R18"), ("info", "R26"),
    ]  # fmt: skip


NASTY = [
    "X",
    "X",
    "x",
    "a/b",
    "nul",
    " Y ",
    "position",
    "valid",
    "Raw_Data",
    "µ",
    "a b",
    "c.",
    "%41",
]


@pytest.mark.parametrize("first", NASTY)
@pytest.mark.parametrize("how", ["full", "sparse", "aborted", "measured"])
@pytest.mark.parametrize("dtype", ["f4", [("X", "f4"), ("b c", "f4", (2,)), ("position", "f4")]])
def test_n1_tells_the_names_of_the_tree(tmp_path: Path, first: str, how: str, dtype: Any) -> None:
    table = {
        "full": it.grid({"Y": 2, "X": 3}),
        "measured": it.grid({"Y": 2, "X": 3}),
        "sparse": it.sparse(6, 2),
        "aborted": it.grid({"Y": 2, "X": 3})[:5],
    }[how]
    values = np.random.default_rng(0).random(table.shape) if how == "measured" else None
    path = write_file(
        tmp_path / "scan.h5", Side(table, [first, "X"], values=values), BIAS, dtype=np.dtype(dtype)
    )
    parsed = read_usid(path)
    tree = build_tree(parsed)
    for main in parsed.mains.values():
        node = tree.nodes[main.path]
        shown = [
            (str(variable.attrs.get("usid_name", name)), name)
            for name, variable in node.variables.items()
            if name != "valid"
            or "usid_name" in variable.attrs
            or variable.attrs["usid_role"] != "valid"
        ]
        assert sorted(shown) == sorted(variable_names(main))


def test_n1_tells_the_names_of_nodes(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        for name in ("a", "A", "c:d", "con", "zarr.json"):
            file[CHANNEL].create_group(name)
    parsed = read_usid(path)
    told = {
        f"{CHANNEL}/{name}": f"{CHANNEL}/{stored}"
        for name, stored in node_names(parsed.record.groups[CHANNEL].members)
    }
    places = {node.hdf5_path: place for place, node in build_tree(parsed).nodes.items()}
    assert told == {path: places[path] for path in told}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_rule_crashes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random tables of any numbers: rules find, and never fail."""
    n_points, n_dims = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 3))
    size = n_points * n_dims
    dtype = data.draw(st.sampled_from(["u1", "i2", "f4", "u8", "?"]))
    indices = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    kind = data.draw(st.sampled_from(["f2", "f4", "f8", "u1", "i8", "c8", "?"]))
    numbers = st.one_of(st.integers(0, 3), st.sampled_from([np.nan, np.inf, 0.5]))
    if np.dtype(kind).kind in "biu":
        numbers = st.integers(0, 3)
    values = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)))
    table = indices.reshape(n_points, n_dims).astype(int)
    side = Side(
        table, ["A", "B", "C"][:n_dims], values=values.reshape(n_points, n_dims),
        index_dtype=dtype, value_dtype=kind,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("random") / "scan.h5"
    sides = (side, BIAS) if data.draw(st.booleans()) else (POSITION, side)
    write_clean(path, *sides)
    findings = validate_file(path)
    assert not [finding for finding in findings if finding.id == "X1"]
    assert not [finding for finding in findings if finding.severity is Severity.ERROR]
    assert all(Finding.from_json(json.loads(json.dumps(f.to_json()))) == f for f in findings)


def test_many_files_are_told_of_without_arrays(tmp_path: Path) -> None:
    """Children judge them; the process that tells of them starts at once."""
    for name in ("a.h5", "b.h5"):
        write_clean(tmp_path / name)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from usid_tasks.settings import load_settings\n"
        "from usid_tasks.validate import validate_paths\n"
        "found = list(validate_paths([Path(sys.argv[1])], load_settings()))\n"
        "heavy = {'numpy', 'h5py', 'xarray'} & set(sys.modules)\n"
        "print(json.dumps([[len(findings) for _, findings in found], sorted(heavy)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[0, 0], []]
