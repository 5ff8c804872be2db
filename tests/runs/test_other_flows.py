"""The flows that validate and convert, against a real Prefect server."""

from __future__ import annotations

import pytest

from flows import convert, validate
from flows.convert import ConvertParams
from flows.validate import ValidateParams
from usid_tasks.errors import NoMainDatasetError, UsidError
from usid_tasks.model import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_validation_lists_findings_and_fails_for_errors(server, mixed):
    validated = validate.run_flow(ValidateParams(paths=[mixed]), None)
    assert (validated.n_files, validated.exit_status) == (4, 1)
    run = server.newest()
    assert run["state_type"] == "FAILED"
    assert run["state"]["message"].startswith("4 files: 2 errors, ")
    table = server.artifacts(run)["usid-findings"]
    assert [row["severity"] for row in table[:2]] == ["error", "error"]
    assert {row["file"] for row in table[:2]} == {
        str(mixed / "broken.h5"),
        str(mixed / "partial.h5"),
    }


def test_validation_of_sound_files_completes(server, sound):
    validated = validate.run_flow(ValidateParams(paths=[sound / "sound.h5"]), None)
    assert (validated.n_files, validated.exit_status) == (1, 0)
    assert server.newest()["state_type"] == "COMPLETED"


def test_validation_of_nothing_could_not_run(server, tmp_path):
    with pytest.raises(UsidError, match="no such file"):
        validate.run_flow(ValidateParams(paths=[tmp_path / "absent"]), None)
    assert server.newest()["state_type"] == "FAILED"


@pytest.mark.parametrize(
    ("name", "outcome", "state"),
    [("sound.h5", Outcome.DONE, "COMPLETED"), ("partial.h5", Outcome.PARTIAL, "FAILED")],
)
def test_conversion_tells_its_outcome(server, mixed, tmp_path, name, outcome, state):
    store = tmp_path / f"{name}.zarr"
    result = convert.run_flow(ConvertParams(file=mixed / name, dest=store), None)
    assert (result.outcome, result.store) == (outcome, store)
    assert (store / "zarr.json").is_file()
    run = server.newest()
    assert run["state_type"] == state
    assert run["state"]["message"].startswith(f"{outcome}: ")
    assert server.artifacts(run)["usid-convert"]


def test_conversion_of_an_absent_dataset_could_not_run(server, sound, tmp_path):
    params = ConvertParams(
        file=sound / "sound.h5", dest=tmp_path / "store.zarr", datasets=["/absent"]
    )
    with pytest.raises(NoMainDatasetError):
        convert.run_flow(params, None)
    assert server.newest()["state_type"] == "FAILED"
