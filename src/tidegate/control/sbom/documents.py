"""Which kind of SBOM a document is, and the components it names. Pure; takes what `json.loads` gave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tidegate.control.sbom.verdict import Component, text

CYCLONEDX, SPDX = "CycloneDX", "SPDX"
CYCLONEDX_VERSIONS = ("1.4", "1.5", "1.6", "1.7")
SPDX_VERSIONS = ("2.2", "2.3", "3.0", "3.1")
_SPDX_3 = re.compile(r"https://spdx\.org/rdf/(3\.\d+)(?:\.\d+)?/")
_PACKAGE_3 = ("software_Package", "Package")


class Unknown(Exception):
    """No document of a kind that can be checked; the message says what it is and what to do."""


def detect(document: Any) -> tuple[str, str]:
    """Format and specification version.

    Raises:
        Unknown: neither CycloneDX nor SPDX, or of a version that cannot be checked.
    """
    if not isinstance(document, dict):
        raise Unknown("must be a JSON object, as CycloneDX and SPDX documents are")
    if document.get("bomFormat") == CYCLONEDX:
        return _known(CYCLONEDX, document.get("specVersion"), CYCLONEDX_VERSIONS)
    declared = document.get("spdxVersion")
    if isinstance(declared, str) and declared.startswith("SPDX-"):
        return _known(SPDX, declared.removeprefix("SPDX-"), SPDX_VERSIONS)
    for context in _contexts(document.get("@context")):
        found = _SPDX_3.match(context)
        if found is not None:
            return _known(SPDX, found[1], SPDX_VERSIONS)
    raise Unknown('must say what it is: "bomFormat": "CycloneDX", "spdxVersion", or the "@context" of SPDX 3')


def detect_other(data: bytes) -> str:
    """What bytes that are no JSON seem to be, in words that say what to do; empty: nothing known."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        kind = "CycloneDX XML" if b"cyclonedx" in start.lower() else "XML"
        return f"is {kind}: convert it to JSON first (cyclonedx convert, or the tool that made it)"
    if start.startswith(b"SPDXVersion:"):
        return "is SPDX in tag-value form: convert it to JSON first (pyspdxtools, or the tool that made it)"
    return ""


def components(document: dict[str, Any], format_: str, version: str) -> Iterator[Component]:
    """Every component, those within others too, in the order of the document."""
    if format_ == CYCLONEDX:
        return _cyclonedx(document)
    return _spdx_3(document) if version.startswith("3.") else _spdx_2(document)


def _known(format_: str, version: object, versions: tuple[str, ...]) -> tuple[str, str]:
    if version not in versions:
        raise Unknown(f"is {format_} {text(version, 32) or 'of no version'}: must be one of {', '.join(versions)}")
    return format_, str(version)


def _contexts(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            yield one


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield one


def _cyclonedx(document: dict[str, Any]) -> Iterator[Component]:
    stack = [_objects(document.get("components"))]
    while stack:
        one = next(stack[-1], None)
        if one is None:
            stack.pop()
            continue
        name = text(one.get("name"))
        group = text(one.get("group"))
        yield Component(
            text(f"{group}/{name}" if group else name),
            text(one.get("version")),
            text(one.get("purl"), 1024),
            _license_of(one.get("licenses")),
        )
        stack.append(_objects(one.get("components")))


def _license_of(licenses: Any) -> str:
    found = []
    for one in _objects(licenses):
        named = one.get("license")
        named = named if isinstance(named, dict) else {}
        found.append(text(named.get("id")) or text(named.get("name")) or text(one.get("expression")))
    return text(", ".join(name for name in found if name))


def _spdx_2(document: dict[str, Any]) -> Iterator[Component]:
    for one in _objects(document.get("packages")):
        purls = (
            ref.get("referenceLocator")
            for ref in _objects(one.get("externalRefs"))
            if ref.get("referenceType") == "purl"
        )
        licenses = (text(one.get(key)) for key in ("licenseConcluded", "licenseDeclared"))
        yield Component(
            text(one.get("name")),
            text(one.get("versionInfo")),
            text(next(purls, ""), 1024),
            next((name for name in licenses if name not in ("", "NOASSERTION", "NONE")), ""),
        )


def _spdx_3(document: dict[str, Any]) -> Iterator[Component]:
    for one in _objects(document.get("@graph")):
        if one.get("type", one.get("@type")) in _PACKAGE_3:
            version, purl = one.get("software_packageVersion"), one.get("software_packageUrl")
            yield Component(text(one.get("name")), text(version), text(purl, 1024))
