"""The rules a document is checked by.

CycloneDX: the official schemas, as cyclonedx-python-lib carries them. SPDX 2: what clauses 6 to 11 of the SPDX
specification 2.3 make mandatory, written here as a schema. SPDX 3: its envelope (context, graph, creation information,
one document), since its full model is RDF.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from tidegate.control.sbom.documents import CYCLONEDX
from tidegate.control.sbom.verdict import Reason, text

_SHARED = ("spdx", "jsf-0.82", "cryptography-defs")
_BASE = "http://cyclonedx.org/schema/"
_RULE_CHARACTERS = 300


def broken(document: dict[str, Any], format_: str, version: str) -> Iterator[Reason]:
    """Every rule that the document breaks, with its place; lazily, there may be very many."""
    for error in _validator(format_, version).iter_errors(document):
        yield Reason(pointer(error.instance_path), text(error.message, _RULE_CHARACTERS))
    if version.startswith("3."):
        yield from _graph(document)


def pointer(path: list[str | int]) -> str:
    """RFC 6901, bounded."""
    return text("".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path))


@functools.cache
def _validator(format_: str, version: str) -> Any:
    registry = None
    if format_ == CYCLONEDX:
        schema = _official(f"bom-{version}")
        registry = jsonschema_rs.Registry(
            [(f"{_BASE}{name}.SNAPSHOT.schema.json", _official(name)) for name in _SHARED]
        )
    else:
        schema = _SPDX_3 if version.startswith("3.") else _SPDX_2
    # Offline: a reference to anywhere else is an error, never a request.
    return jsonschema_rs.validator_for(schema, registry=registry, validate_formats=True, offline=True)


def _official(name: str) -> dict[str, Any]:
    file = importlib.resources.files("cyclonedx.schema") / "_res" / f"{name}.SNAPSHOT.schema.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def _graph(document: dict[str, Any]) -> Iterator[Reason]:
    graph = document.get("@graph")
    # Anything else has broken the schema's rule already.
    listed = graph if isinstance(graph, list) else []
    types = [one.get("type", one.get("@type")) for one in listed if isinstance(one, dict)]
    for kind, rule in (
        ("SpdxDocument", "must have exactly one SpdxDocument"),
        ("CreationInfo", "must have a CreationInfo"),
    ):
        count = types.count(kind)
        if count == 0 or (count > 1 and kind == "SpdxDocument"):
            yield Reason("/@graph", rule)


# -- SPDX, from the text of the specification -------------------------------------------------------------------------

_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "string", "pattern": r"^SPDXRef-[A-Za-z0-9.-]+$"}
_ANY_ID = {"type": "string", "pattern": r"^(NONE|NOASSERTION|(DocumentRef-[A-Za-z0-9.+-]+:)?SPDXRef-[A-Za-z0-9.-]+)$"}
_CHECKSUMS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["algorithm", "checksumValue"],
        "properties": {"algorithm": _TEXT, "checksumValue": {"type": "string", "pattern": "^[0-9A-Fa-f]+$"}},
    },
}
_EXTERNAL_REFS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["referenceCategory", "referenceType", "referenceLocator"],
        "properties": {
            "referenceCategory": {"enum": ["SECURITY", "PACKAGE-MANAGER", "PACKAGE_MANAGER", "PERSISTENT-ID",
                                           "PERSISTENT_ID", "OTHER"]},
            "referenceType": _TEXT,
            "referenceLocator": {"type": "string", "pattern": r"^\S+$"},
        },
    },
}  # fmt: skip
_PACKAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["SPDXID", "name", "downloadLocation"],
        "properties": {
            "SPDXID": _ID,
            "name": _TEXT,
            "downloadLocation": _TEXT,
            "versionInfo": {"type": "string"},
            "filesAnalyzed": {"type": "boolean"},
            "licenseConcluded": _TEXT,
            "licenseDeclared": _TEXT,
            "checksums": _CHECKSUMS,
            "externalRefs": _EXTERNAL_REFS,
        },
    },
}
_SPDX_2: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"],
    "properties": {
        "spdxVersion": {"enum": ["SPDX-2.2", "SPDX-2.3"]},
        "dataLicense": {"const": "CC0-1.0"},
        "SPDXID": {"const": "SPDXRef-DOCUMENT"},
        "name": _TEXT,
        "documentNamespace": {"type": "string", "format": "uri", "pattern": "^[^#]+$"},
        "creationInfo": {
            "type": "object",
            "required": ["created", "creators"],
            "properties": {
                "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
                "creators": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "pattern": "^(Person|Organization|Tool): ?.+"},
                },
            },
        },
        "packages": _PACKAGES,
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["SPDXID", "fileName", "checksums"],
                "properties": {"SPDXID": _ID, "fileName": _TEXT, "checksums": {**_CHECKSUMS, "minItems": 1}},
            },
        },
        "relationships": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["spdxElementId", "relatedSpdxElement", "relationshipType"],
                "properties": {
                    "spdxElementId": _ANY_ID,
                    "relatedSpdxElement": _ANY_ID,
                    "relationshipType": {"type": "string", "pattern": "^[A-Z]+(_[A-Z]+)*$"},
                },
            },
        },
        "hasExtractedLicensingInfos": {
            "type": "array",
            "items": {"type": "object", "required": ["licenseId", "extractedText"]},
        },
    },
}
_SPDX_3: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["@context", "@graph"],
    "properties": {
        "@graph": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "anyOf": [{"required": ["type"]}, {"required": ["@type"]}],
                "properties": {"spdxId": _TEXT, "name": {"type": "string"}, "software_packageVersion": _TEXT},
                "if": {"properties": {"type": {"const": "CreationInfo"}}, "required": ["type"]},
                "then": {
                    "required": ["specVersion", "created", "createdBy"],
                    "properties": {"specVersion": {"type": "string", "pattern": r"^3\.[01]"}},
                },
            },
        },
    },
}
