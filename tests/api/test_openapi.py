"""The description of the operator API is valid and whole."""

from __future__ import annotations

import json

from openapi_spec_validator import OpenAPIV31SpecValidator

from tidegate.control.api import openapi, table


def test_the_document_is_valid_openapi_3_1() -> None:
    document = json.loads(json.dumps(openapi.document(table.calls())))
    OpenAPIV31SpecValidator(document).validate()


def test_every_call_is_described_under_a_name_of_its_own() -> None:
    calls = table.calls()
    document = openapi.document(calls)
    described = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(described) == len(calls)
    assert len({operation["operationId"] for operation in described}) == len(calls)
    assert all(operation["summary"] for operation in described)
