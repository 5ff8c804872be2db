"""The flow that rechunks, against a real Prefect server."""

from __future__ import annotations

import pytest
from prefect.settings import temporary_settings
from rechunk_stores import assert_same, made_store
from servers import prefect_server

from flows import rechunk
from flows.rechunk import RechunkParams
from flows.server import send_what_waits
from usid_tasks.errors import RefusedError


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_is_rechunked_as_a_flow(tmp_path):
    store = made_store(tmp_path)
    folder = tmp_path / "prefect"
    folder.mkdir()
    with prefect_server(folder) as server:
        with temporary_settings(updates={"api.url": server.url, "home": server.home}):
            params = RechunkParams(
                store=store, dest=tmp_path / "made.zarr", intent="Y=4,X=4,Bias=-1"
            )
            made = rechunk.run_flow(params, None)
            assert_same(store, made.store)
            run = server.newest()
            assert run["state_type"] == "COMPLETED"
            assert run["state"]["message"].startswith("done: ")
            rows = server.artifacts(run)["usid-rechunk"]
            assert any(row["to"] == "4 x 4 x 50" for row in rows)
            with pytest.raises(RefusedError, match="there already"):
                rechunk.run_flow(params, None)
            assert server.newest()["state_type"] == "FAILED"
        send_what_waits()
