"""``usid process`` and ``usid tools`` as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from usid_tasks.cli import app
from usid_tasks.commands.process import parameters_of
from usid_tasks.errors import RefusedError
from usid_tasks.samples import write_polymer_blend, write_switching_loops
from usid_tasks.tools import tools

MAIN = "/Measurement_000/Channel_000/Raw_Data"


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "loops.h5"
    write_switching_loops(path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def invoke(*arguments: object):
        return CliRunner().invoke(app, list(map(str, arguments)))

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("USID_CONFIG", raising=False)
    return invoke


def test_results_go_where_they_are_told_and_are_right(run, loops, tmp_path):
    out = tmp_path / "found.h5"
    asked = (loops, "--tool", "reduce", "-p", "dims=Bias,Cycle", "-p", "statistics=mean,max")
    done = run("process", *asked, "--out", out)
    assert done.exit_code == 0, done.output
    group = f"{MAIN}-reduce_000"
    assert done.output.startswith(f"computed   {out} {group}")
    assert "positions/s" in done.output
    with h5py.File(loops) as source, h5py.File(out) as file:
        values = source[MAIN][()]
        assert np.array_equal(file[group]["Max"][:, 0], values.max(axis=1))
        assert np.allclose(file[group]["Mean"][:, 0], values.mean(axis=1, dtype="f8"))
    again = run("process", *asked, "--out", out)
    assert again.output == f"found      {out} {group} (computed before)\n"
    anew = run("process", *asked, "--out", out, "--override", "--json")
    (told,) = json.loads(anew.output)
    assert told["results"][0]["group"] == f"{MAIN}-reduce_001"
    assert told["results"][0]["outcome"] == "computed"


def test_one_bad_file_does_not_stop_the_others(run, tmp_path):
    lab = tmp_path / "lab"
    lab.mkdir()
    write_polymer_blend(lab / "b.h5")
    (lab / "a.h5").write_bytes((lab / "b.h5").read_bytes()[:3000])
    done = run("process", lab, "--tool", "svd", "-p", "n_components=2")
    assert done.exit_code == 1
    first, second = done.output.splitlines()
    assert first.startswith(f"failed     {lab / 'a.h5'}: ")
    assert second.startswith(f"computed   {lab / 'b.h5.results.h5'} ")
    again = run("process", lab, "--tool", "svd", "-p", "n_components=2")
    assert len(again.output.splitlines()) == 2  # results files in a folder are no sources


def test_what_makes_no_sense_is_refused(run, loops, tmp_path):
    done = run("process", loops, "--tool", "reduce", "-p", "dims=Nothing", "--out", tmp_path / "o")
    assert done.exit_code == 1
    assert done.output.startswith(f"refused    {MAIN}  dimension 'Nothing'")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tool", "nothing"], "no package registers it"),
        (["--tool", "svd", "-p", "components=3"], "n_components, method"),
        (["--tool", "svd", "-p", "3"], "expected NAME=VALUE"),
        (["--tool", "svd", "--format", "csv"], "expected usid or zarr"),
        (["--tool", "svd", "--in-place"], "process.writable_roots"),
    ],
)
def test_what_cannot_run_says_so(run, loops, arguments, told):
    done = run("process", loops, *arguments)
    failure = done.exception
    what = done.output if failure is None or isinstance(failure, SystemExit) else str(failure)
    assert told in what
    assert done.exit_code == 1  # of the runner; main makes it 2


def test_a_trial_writes_nothing(run, loops):
    before = sorted(loops.parent.iterdir())
    done = run("process", loops, "--tool", "reduce", "-p", "dims=Bias", "--test")
    assert done.exit_code == 0, done.output
    assert "  Mean  float32, " in done.output
    assert "positions/s" in done.output
    assert sorted(loops.parent.iterdir()) == before


def test_parameters_are_given_once_each():
    assert parameters_of(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(RefusedError, match="is the second a"):
        parameters_of(["a=1", "a=2"])


def test_tools_are_listed_with_their_parameters(run):
    done = run("tools")
    assert done.exit_code == 0
    for each in tools():
        assert f"{each.name}  {each.tool.summary}\n" in done.output
        for name in each.tool.parameters.model_fields:
            assert f"  -p {name} " in done.output
    (told,) = json.loads(run("tools", "svd", "--json").output)
    assert told["name"] == "svd"
    assert told["parameters"]["properties"]["n_components"]["default"] == 16
    assert "Each row" not in run("tools", "reduce").output
    assert "Neumaier" in run("tools", "reduce").output


def test_provenance_of_a_result_is_told(run, loops, tmp_path):
    out = tmp_path / "found.h5"
    run("process", loops, "--tool", "reduce", "-p", "dims=Bias", "--out", out)
    done = run("provenance", out, "--json")
    assert done.exit_code == 0, done.output
    states = [link["state"] for link in json.loads(done.output)["links"]]
    assert states == ["verified", "verified"]
