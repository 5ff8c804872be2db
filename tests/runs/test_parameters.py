"""The parameters of the flows: a form that explains itself, and refuses what it does not know."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.convert import ConvertParams, convert
from flows.ingest import IngestParams, ingest
from flows.validate import ValidateParams, validate

SOUND = {
    IngestParams: {"sources": ["/data"], "dest": "/stores"},
    ValidateParams: {"paths": ["/data"]},
    ConvertParams: {"file": "/data/scan.h5", "dest": "/stores/scan.h5.zarr"},
}


@pytest.mark.parametrize("flow", [ingest, validate, convert], ids=lambda flow: flow.name)
def test_every_parameter_explains_itself(flow):
    schema = flow.parameters.model_dump()
    assert set(schema["properties"]) == {"params", "config"}
    assert all(one["description"] for one in schema["properties"].values())
    (model,) = schema["definitions"].values()
    for name, field in model["properties"].items():
        assert field["title"] != name
        assert field["description"].endswith(".")
        assert field["examples"]


@pytest.mark.parametrize("model", SOUND, ids=lambda model: model.__name__)
def test_unknown_keys_are_refused(model):
    model(**SOUND[model])
    with pytest.raises(ValidationError, match="nonsense"):
        model(**SOUND[model], nonsense=1)


@pytest.mark.parametrize(
    "wrong",
    [{"sources": []}, {"settle_s": -1}, {"settle_s": float("nan")}, {"refresh": "perhaps"}],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        IngestParams(**{**SOUND[IngestParams], **wrong})


@pytest.mark.parametrize("flow", [ingest, validate, convert], ids=lambda flow: flow.name)
def test_prefect_keeps_no_results(flow):
    assert flow.persist_result is False
