"""The catalog as people look at it: names, the versions of one with where they run, two versions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Artifact
from tidegate.control.services.artifacts import ArtifactView, find
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as store
from tidegate.control.store import channels as channel_store
from tidegate.control.store import runs as run_store
from tidegate.control.store import sboms as sbom_store
from tidegate.control.store.artifacts import Named
from tidegate.ids import ArtifactId, FleetId

#: Components compared; an SBOM may list more.
MOST_COMPARED = 20_000
#: Differences between two SBOMs that are shown of each kind.
MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of versions beside what was published, by version. `sboms`: the states of those that have one."""

    running: Mapping[str, int]
    channels: Mapping[str, Sequence[str]]
    sboms: Mapping[ArtifactId, str]


@dataclass(frozen=True, slots=True)
class Changed:
    """Components by name: only in the first, only in the second, in both with other versions. Cut at `MOST_SHOWN`;
    the counts are whole."""

    gone: tuple[tuple[str, str], ...]
    new: tuple[tuple[str, str], ...]
    other: tuple[tuple[str, str, str], ...]
    gone_count: int
    new_count: int
    other_count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`sbom` is None unless both versions have a valid one."""

    first: ArtifactView
    second: ArtifactView
    sbom: Changed | None


def names(
    scope: Scope, node: Node, *, search: str = "", kind: str = "", limit: int = 50, offset: int = 0
) -> tuple[list[Named], int]:
    """Artifact names, and how many there are."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        return store.names(tx, scope.fleet_id, search=search, kind=kind, limit=limit, offset=offset)


def around(scope: Scope, node: Node, name: str, versions: Sequence[Artifact]) -> Around:
    """Where versions of one name run, which channels point at them, which have an SBOM: three queries for all."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        return Around(
            run_store.by_version(tx, scope.fleet_id, name),
            _channels(tx, scope.fleet_id, name),
            sbom_store.states(tx, [one.id for one in versions]),
        )


def compare(scope: Scope, node: Node, name: str, first: str, second: str) -> Comparison:
    """Two versions of one name. Raises `NotFound`."""
    one, other = find(scope, node, name, first), find(scope, node, name, second)
    with node.db.read() as tx:
        listed = [_components(tx, view.artifact.id) for view in (one, other)]
    sbom = None if listed[0] is None or listed[1] is None else changed(listed[0], listed[1])
    return Comparison(one, other, sbom)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> Changed:
    """What differs between two lists of components, by their names."""
    gone = sorted(before.keys() - after.keys())
    new = sorted(after.keys() - before.keys())
    both = sorted(before.keys() & after.keys())
    other = [(name, before[name], after[name]) for name in both if before[name] != after[name]]
    return Changed(
        tuple((name, before[name]) for name in gone[:MOST_SHOWN]),
        tuple((name, after[name]) for name in new[:MOST_SHOWN]),
        tuple(other[:MOST_SHOWN]),
        len(gone),
        len(new),
        len(other),
    )


def _components(tx: Connection, artifact_id: ArtifactId) -> dict[str, str] | None:
    """Versions by name, several of one name together; None without a valid SBOM."""
    current = sbom_store.current(tx, artifact_id)
    if current is None or current.state != "valid":
        return None
    rows, _ = sbom_store.components(tx, current.id, search="", after=None, limit=MOST_COMPARED, offset=0)
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.name, set()).add(row.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _channels(tx: Connection, fleet_id: FleetId, name: str) -> dict[str, list[str]]:
    found, _ = channel_store.listed(tx, fleet_id, artifact=name, after=None, limit=100, offset=0)
    by_version: dict[str, list[str]] = {}
    for one in found:
        by_version.setdefault(one.version, []).append(one.name)
    return by_version
