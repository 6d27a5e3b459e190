"""The description of the operator API is valid and whole."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import inspect
from openapi_spec_validator import OpenAPIV31SpecValidator

from tidegate.control.api import openapi, table
from tidegate.control.api.operations import Operation


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


def _declared() -> dict[str, inspect.Type]:
    """Every field of every struct that a call takes or answers, by its place."""
    kinds: set[Any] = set()
    for call in table.calls():
        body = call.body if isinstance(call, Operation) else None
        kinds |= {kind for kind in (call.query, body, call.answer) if kind is not None}
    found: dict[str, inspect.Type] = {}
    waiting = [(str(kind), inspect.type_info(kind)) for kind in kinds]
    while waiting:
        place, kind = waiting.pop()
        if place in found:
            continue
        found[place] = kind
        if isinstance(kind, inspect.UnionType):
            waiting += [(f"{place}|{number}", one) for number, one in enumerate(kind.types)]
        elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
            waiting.append((f"{place}[]", kind.item_type))
        elif isinstance(kind, inspect.DictType):
            waiting.append((f"{place}{{}}", kind.value_type))
        elif isinstance(kind, inspect.StructType):
            waiting += [(f"{kind.cls.__name__}.{one.encode_name}", one.type) for one in kind.fields]
        elif isinstance(kind, inspect.Metadata):
            waiting.append((f"{place}'", kind.type))
    return found


def test_times_and_digests_are_declared_as_what_they_are() -> None:
    """Without an offset msgspec declares a time as any text; with one as `date-time`, which schemathesis holds."""
    declared = _declared()
    assert len(declared) > 500
    times = {place: kind for place, kind in declared.items() if isinstance(kind, inspect.DateTimeType)}
    assert len(times) > 50
    assert sorted(place for place, kind in times.items() if kind.tz is not True) == []
    digests = [(place, kind) for place, kind in declared.items() if place.split("|")[0].endswith("sha256")]
    free = [place for place, kind in digests if isinstance(kind, inspect.StrType) and not kind.pattern]
    assert sorted(free) == []


def test_numbers_have_bounds_or_a_width() -> None:
    document = json.dumps(openapi.document(table.calls())["components"]["schemas"])
    unbounded = re.findall(r'\{[^{}]*"type": "integer"[^{}]*\}', document)
    assert unbounded
    assert [one for one in unbounded if '"maximum"' not in one and "int64" not in one] == []
