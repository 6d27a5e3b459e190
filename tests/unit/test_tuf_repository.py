"""The repository as pure functions: versions, bins, and what a node accepts that was signed elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import TargetFile

from tidegate.errors import Conflict, Defect, Untrusted
from tidegate.testing.tuf import World, entry, new_signer
from tidegate.trust.tuf import repository, roles, submission
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.trust.tuf.roles import PUBLISHER, Row

PATH = "default/vad/5/descriptor.json"
OTHER = "default/vad/6/descriptor.json"


@pytest.fixture
def world() -> World:
    world = World()
    world.publish(Change(add=(entry(PATH),)))
    world.clock.advance(timedelta(minutes=1))
    return world


def _bin_of(world: World, path: str) -> str:
    (name,) = repository.bins_for(world.rows, [path])
    return name


# -- publishing -------------------------------------------------------------------------------------------------------


def test_publishing_touches_only_its_bin(world: World) -> None:
    made = repository.prepare(world.rows, Change(add=(entry(OTHER),)), world.keys[PUBLISHER], world.clock.now())
    assert set(made) == {_bin_of(world, OTHER)}


def test_versions_follow_the_clock_and_always_grow(world: World) -> None:
    before = world.rows["timestamp"].version
    same_instant = repository.resign_timestamp(world.rows, world.keys, world.clock.now())
    assert same_instant["timestamp"].version == int(world.clock.now().timestamp()) > before
    world.clock.advance(-timedelta(days=3))  # the node's clock was set back
    again = repository.resign_timestamp({**world.rows, **same_instant}, world.keys, world.clock.now())
    assert again["timestamp"].version == same_instant["timestamp"].version + 1


def test_a_published_target_is_never_altered(world: World) -> None:
    with pytest.raises(Conflict, match="published with other bytes"):
        world.publish(Change(add=(entry(PATH, b"other"),)))


def test_what_is_not_there_cannot_be_removed(world: World) -> None:
    with pytest.raises(Conflict, match="cannot remove"):
        world.publish(Change(remove=(OTHER,)))


def test_the_publisher_signs_nothing_that_it_has_not_signed_before(world: World) -> None:
    """A node that was taken over hands the publisher a bin of its own making, to get it signed."""
    name = _bin_of(world, OTHER)
    forged = roles.new_bin(name, {OTHER: TargetFile(1, {"sha256": "6" * 64}, OTHER)}, 10**10, world.clock.now())
    rows = {**world.rows, name: roles.sign(name, forged, [world.keys["snapshot"]])}
    with pytest.raises(Untrusted, match="cannot accept the role"):
        repository.prepare(rows, Change(add=(entry(OTHER),)), world.keys[PUBLISHER], world.clock.now())
    with pytest.raises(Untrusted, match="another key"):
        repository.prepare(world.rows, Change(add=(entry(OTHER),)), new_signer(), world.clock.now())


def test_the_node_does_not_seal_with_a_key_that_the_root_does_not_name(world: World) -> None:
    with pytest.raises(Defect, match="not the one that the root names"):
        repository.seal({}, world.rows, {**world.keys, "snapshot": new_signer()}, world.clock.now())


def test_what_is_due() -> None:
    world = World()
    bins = repository.all_bins(world.rows)
    expires = {role: row.expires_at for role, row in world.rows.items()}
    start = world.clock.now()

    def due(after: timedelta) -> frozenset[str]:
        return repository.due(expires, bins, start + after)

    assert due(timedelta(hours=11)) == frozenset()
    assert due(timedelta(hours=12)) == {"timestamp"}
    assert due(timedelta(days=3, hours=12)) == {"timestamp", "snapshot"}
    assert due(timedelta(days=60)) == {"timestamp", "snapshot", PUBLISHER, *bins}


# -- bins -------------------------------------------------------------------------------------------------------------


def test_bins_regrow_and_a_device_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "BIN_MAX_TARGETS", 2)
    world = World()
    client = world.client(tmp_path)
    paths = [f"default/m{number}/1/descriptor.json" for number in range(80)]
    for path in paths:
        world.publish(Change(add=(entry(path, path.encode()),)))
    client.refresh()
    assert len(repository.all_bins(world.rows)) >= 64
    listed = {name.removesuffix(".json") for name in roles.read_snapshot(world.rows["snapshot"]).meta}
    assert {f"bins16-{number:x}" for number in range(16)} <= listed, "clients refuse a snapshot that drops a role"
    for path in paths:
        assert client.find(path).sha256 == entry(path, path.encode()).sha256
    world.publish(Change(remove=(paths[0],)))
    client.refresh()
    with pytest.raises(Untrusted):
        client.find(paths[0])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=12))
def test_the_union_of_the_bins_is_what_was_published_and_not_removed(acts: list[tuple[bool, int]]) -> None:
    world = World()
    expected: set[str] = set()
    for add, number in acts:
        path = f"default/m{number}/1/model.onnx"
        if add:
            world.publish(Change(add=(entry(path),)))
            expected.add(path)
        elif path in expected:
            world.publish(Change(remove=(path,)))
            expected.remove(path)
    found = {path for name in repository.all_bins(world.rows) for path in roles.read_targets(world.rows[name]).targets}
    assert found == expected


# -- signed elsewhere -------------------------------------------------------------------------------------------------


def _accept(world: World, documents: dict[str, bytes], change: Change) -> dict[str, Row]:
    return submission.accept(world.fleet, world.rows, documents, change, world.clock.now())


def _prepared(world: World, change: Change) -> dict[str, bytes]:
    made = repository.prepare(world.rows, change, world.keys[PUBLISHER], world.clock.now())
    return {name: row.data for name, row in made.items()}


def test_what_the_publisher_prepared_is_accepted_and_followed(world: World, tmp_path: Path) -> None:
    change = Change(add=(entry(OTHER),))
    made = _accept(world, _prepared(world, change), change)
    world.seal(made)
    client = world.client(tmp_path)
    client.refresh()
    assert client.find(OTHER)
    assert client.find(PATH)


def test_a_regrown_cut_is_accepted_whole_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "BIN_MAX_TARGETS", 0)
    change = Change(add=(entry(OTHER),))
    documents = _prepared(world, change)
    assert len(documents) == 65
    assert len(_accept(world, documents, change)) == 65
    one = next(name for name in documents if name != PUBLISHER)
    with pytest.raises(Untrusted, match="every bin"):
        _accept(world, {name: data for name, data in documents.items() if name != one}, change)


def test_renewal_changes_nothing(world: World) -> None:
    names = [PUBLISHER, *repository.all_bins(world.rows)]
    made = repository.renew_publisher(world.rows, names, world.keys[PUBLISHER], world.clock.now())
    assert len(_accept(world, {name: row.data for name, row in made.items()}, Change())) == 17


def _edited(world: World, edit: Callable[[dict[str, TargetFile]], None], **how: object) -> dict[str, bytes]:
    """The bin of PATH, edited and signed as `how` says."""
    name = str(how.get("name", _bin_of(world, PATH)))
    targets = dict(roles.read_targets(world.rows[_bin_of(world, PATH)]).targets)
    edit(targets)
    version = how.get("version", world.rows[_bin_of(world, PATH)].version + 1)
    assert isinstance(version, int)
    signed = roles.new_bin(_bin_of(world, PATH), targets, version, world.clock.now())
    lives = how.get("lives")
    if isinstance(lives, timedelta):
        signed.expires = (world.clock.now() + lives).replace(microsecond=0)
    key = how.get("key", world.keys[PUBLISHER])
    return {name: roles.sign(_bin_of(world, PATH), signed, [key]).data}  # type: ignore[list-item]


def _nothing(_targets: dict[str, TargetFile]) -> None:
    return


def _alter(targets: dict[str, TargetFile]) -> None:
    targets[PATH] = TargetFile(1, {"sha256": "6" * 64}, PATH)


def _foreign(targets: dict[str, TargetFile]) -> None:
    path = "plant-7/vad/5/descriptor.json"
    targets[path] = TargetFile(1, {"sha256": "6" * 64}, path)


def _annotate(targets: dict[str, TargetFile]) -> None:
    file = targets[PATH]
    targets[PATH] = TargetFile(file.length, file.hashes, PATH, {"custom": {"note": "harmless?"}})


def test_a_submission_can_neither_alter_nor_drop_what_is_published(world: World) -> None:
    with pytest.raises(Untrusted, match=f"they drop {PATH}"):
        _accept(world, _edited(world, dict.clear), Change())
    with pytest.raises(Untrusted, match=f"they alter {PATH}"):
        _accept(world, _edited(world, _alter), Change())
    with pytest.raises(Untrusted, match="they alter"):
        _accept(world, _edited(world, _annotate), Change())


def test_a_submission_adds_only_what_was_asked_for(world: World) -> None:
    change = Change(add=(entry(OTHER),))
    documents = _prepared(world, change)
    with pytest.raises(Untrusted, match=f"they add {OTHER}"):
        _accept(world, documents, Change())
    with pytest.raises(Untrusted, match="they alter"):
        _accept(world, documents, Change(add=(TargetEntry(OTHER, 1, "6" * 64),)))
    with pytest.raises(Untrusted, match="they drop"):
        _accept(world, documents, Change(add=(entry(OTHER), entry("default/vad/7/descriptor.json"))))


def test_a_submission_stays_in_its_fleet(world: World) -> None:
    with pytest.raises(Untrusted, match="does not belong into it"):
        _accept(world, _edited(world, _foreign), Change())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"key": new_signer()}, "cannot accept the role"),
        ({"version": 1}, "its version must follow"),
        ({"version": 10**12}, "its version must follow"),
        ({"lives": timedelta(days=92)}, "must expire within 90 days"),
        ({"lives": timedelta(seconds=-1)}, "must expire within 90 days"),
        ({"name": "bins16-A"}, "publisher and its bins"),
        ({"name": "bins16-0f"}, "publisher and its bins"),
        ({"name": "targets"}, "publisher and its bins"),
        ({"name": "../bins16-0"}, "publisher and its bins"),
    ],
)
def test_a_submission_of_the_wrong_form_is_refused(world: World, how: dict[str, object], says: str) -> None:
    with pytest.raises(Untrusted, match=says):
        _accept(world, _edited(world, _nothing, **how), Change())


def test_a_submission_of_nothing_is_refused(world: World) -> None:
    with pytest.raises(Untrusted, match="publisher and its bins"):
        _accept(world, {}, Change())
    with pytest.raises(Untrusted, match="cannot read"):
        _accept(world, {_bin_of(world, PATH): b"{"}, Change())


def test_a_submitted_publisher_keeps_its_key_and_its_bins(world: World) -> None:
    version, now = world.rows[PUBLISHER].version + 1, world.clock.now()
    other = roles.new_publisher(new_signer(), roles.FIRST_BIN_BITS, version, now)
    fewer = roles.new_publisher(world.keys[PUBLISHER], 2, version, now)
    for signed, says in ((other, "other keys"), (fewer, "only grow")):
        document = roles.sign(PUBLISHER, signed, [world.keys[PUBLISHER]]).data
        with pytest.raises(Untrusted, match=says):
            _accept(world, {PUBLISHER: document}, Change())
