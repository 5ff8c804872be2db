"""The flow that runs a tool, against a real Prefect server."""

from __future__ import annotations

import pytest

from flows import process
from flows.process import ProcessParams
from usid_tasks.errors import RefusedError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def params(*sources, **given):
    return ProcessParams(sources=list(sources), tool="reduce", **given)


def dims_of(path):
    from usid_tasks.usid import read_usid

    main = next(iter(read_usid(path).mains.values()))
    return [column.label for column in main.spectroscopic.columns]


def test_a_run_computes_and_the_next_one_finds(server, sound, tmp_path):
    source = sound / "sound.h5"
    asked = params(source, parameters={"dims": dims_of(source)}, out=tmp_path / "r.h5")
    (done,) = process.run_flow(asked, None)
    assert [each.outcome.value for each in done.results] == ["computed"]
    run = server.newest()
    assert run["state_type"] == "COMPLETED"
    (row,) = server.artifacts(run)["usid-process"]
    assert row["outcome"] == "computed"
    (again,) = process.run_flow(asked, None)
    assert [each.outcome.value for each in again.results] == ["found"]


def test_one_failed_file_fails_the_run_and_no_other_file(server, mixed, tmp_path):
    asked = params(mixed, parameters={"dims": dims_of(mixed / "sound.h5")})
    done = process.run_flow(asked, None)
    told = {each.source.name: each.is_failure for each in done}
    assert told["sound.h5"] is False
    assert any(told.values())
    run = server.newest()
    assert run["state_type"] == "FAILED"
    assert f"{len(done)} files" in run["state"]["message"]
    rows = server.artifacts(run)["usid-process"]
    assert {row["source"] for row in rows} == {str(each.source) for each in done}


def test_an_unknown_tool_could_not_run(server, sound):
    with pytest.raises(RefusedError, match="no package registers it"):
        process.run_flow(ProcessParams(sources=[sound / "sound.h5"], tool="os.system"), None)
    assert server.newest()["state_type"] == "FAILED"
