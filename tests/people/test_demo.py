"""`usid demo`: what it refuses, what it tells, and the whole of it as a flow."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from usid_tasks import demo
from usid_tasks.demo import Demo, Row
from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome


def usid(*arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("USID_", "PREFECT_"))
    }
    return subprocess.run(
        [sys.executable, "-c", "from usid_tasks.cli import main; main()", *arguments],
        cwd=cwd,
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def rows(ingested) -> list[Row]:
    return list(demo._rows(ingested.demo, ingested.samples, ingested.summary))


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RefusedError, match="new or empty folder"):
        demo.make_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RefusedError, match="is a file"):
        demo.make_demo(tmp_path / "file")


def test_the_refusal_could_not_run_and_starts_nothing(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    done = usid("demo", str(tmp_path), cwd=tmp_path, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 3


def test_every_row_is_expected_and_the_lines_align(ingested):
    made = Demo(tuple(rows(ingested)), Path("overview.png"), ())
    assert made.is_as_expected
    lines = list(made.lines())
    table = lines[: 1 + len(made.rows)]
    at = table[0].index("outcome")
    assert all(line[at - 1] == " " != line[at] for line in table)
    assert "every outcome is as expected" in lines


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEFERRED, Outcome.OUTDATED])
def test_an_outcome_that_is_not_the_sample_s_is_told(ingested, outcome):
    first, *others = rows(ingested)
    made = Demo((replace(first, outcome=outcome), *others), Path("overview.png"), ())
    assert not made.is_as_expected
    told = f"unexpected: {first.sample} is {outcome}, expected done"
    assert told in list(made.lines())


def test_only_a_sample_that_is_done_may_be_current(ingested):
    by_key = {row.sample: row for row in rows(ingested)}
    assert replace(by_key["afm/force_curve.h5"], outcome=Outcome.CURRENT).is_expected
    assert not replace(by_key["afm/lost_labels.h5"], outcome=Outcome.CURRENT).is_expected
    assert not replace(by_key["stem/interrupted_copy.h5"], outcome=Outcome.DONE).is_expected


def test_shapes_are_told_once_where_they_are_equal(ingested):
    shapes = {row.sample: row.shape for row in rows(ingested)}
    assert shapes["afm/pfm_domains.h5"] == "3 × (Y 144, X 192)"
    assert shapes["stem/diffraction_scan.h5"] == "(Y 20, X 26, Qy 36, Qx 36)"
    assert shapes["stem/instrument_log.h5"] == ""


def test_the_environment_is_put_back(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", "http://example.invalid/api")
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    before = dict(os.environ)
    with demo._private_prefect(tmp_path / ".prefect"):
        assert "PREFECT_API_URL" not in os.environ
        assert os.environ["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert dict(os.environ) == before


@pytest.mark.slow
def test_the_whole_demonstration_twice(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    first = usid("demo", "try it", cwd=tmp_path, home=home)
    assert first.returncode == 0, first.stderr
    made = tmp_path / "try it"
    assert sorted(path.name for path in made.iterdir()) == [
        ".prefect", ".usid-demo", "overview.png", "sources", "stores",
    ]  # fmt: skip
    assert (made / ".prefect" / "prefect.db").is_file()
    assert not (home / ".prefect").exists()
    stores = {path: path.stat().st_mtime_ns for path in made.glob("stores/*/*")}
    assert first.stdout.count(" done ") == 10

    second = usid("demo", "try it", cwd=tmp_path, home=home)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count(" current ") == 10
    assert {path: path.stat().st_mtime_ns for path in made.glob("stores/*/*")} == stores

    steps = [line.strip() for line in first.stdout.splitlines() if line.startswith("  ")]
    for command in steps[:3]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout, (command, done.stderr)
        assert done.returncode == (1 if " validate " in command else 0), done.stderr
