"""The device's verification: what it refuses, what it keeps, and that it never mixes hostile with unavailable."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater

from tidegate.errors import TidegateError, Unavailable, Untrusted
from tidegate.testing.tuf import START, World, entry, new_signer
from tidegate.trust.tuf import repository, roles
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.repository import Change
from tidegate.trust.tuf.roles import Row
from tidegate.trust.tuf.target import Policy

PATH = "default/vad/5/descriptor.json"


@pytest.fixture
def world() -> World:
    return World()


def _refreshed(world: World, folder: Path) -> Client:
    client = world.client(folder)
    client.refresh()
    return client


# -- the ordinary way -------------------------------------------------------------------------------------------------


def test_finds_what_was_published(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH, b"hello"),)))
    target = _refreshed(world, tmp_path).find(PATH)
    assert (target.length, target.sha256) == (5, entry(PATH, b"hello").sha256)
    assert target.download_path == f"targets/default/vad/5/{target.sha256}.descriptor.json"


def test_a_target_that_nobody_signed_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="cannot find default/vad/5"):
        _refreshed(world, tmp_path).find(PATH)


def test_a_withdrawn_target_is_gone(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH),)))
    client = _refreshed(world, tmp_path)
    assert client.find(PATH)
    world.publish(Change(remove=(PATH,)))
    client.refresh()
    with pytest.raises(Untrusted, match="cannot find"):
        client.find(PATH)


def test_a_refresh_without_news_is_two_requests(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH),)))
    _refreshed(world, tmp_path).find(PATH)
    world.fetched.clear()
    again = world.client(tmp_path)  # another process: everything else comes from the folder
    again.refresh()
    again.find(PATH)
    assert world.fetched == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_the_time_of_the_newest_timestamp_is_a_floor_for_the_clock(world: World, tmp_path: Path) -> None:
    assert world.client(tmp_path).timestamp_seen() is None
    client = _refreshed(world, tmp_path)
    assert client.timestamp_seen() == START
    # A device without a battery wakes up in 1970: what has expired by the floor stays expired.
    world.clock.advance(timedelta(hours=20))
    world.put(repository.resign_timestamp(world.rows, world.keys, world.clock.now()))
    client.refresh()
    world.clock.advance(timedelta(days=8))
    stale_snapshot = world.rows["snapshot"]
    world.put(repository.resign_timestamp(world.rows, world.keys, world.clock.now()))
    assert stale_snapshot.expires_at < world.clock.now()
    with pytest.raises(Untrusted, match="expired"):
        client.refresh()
    world.clock.advance(-timedelta(days=20_000))
    with pytest.raises(Untrusted, match="expired"):
        client.refresh()


# -- the anchor -------------------------------------------------------------------------------------------------------


def test_nothing_is_verified_without_an_anchor(world: World, tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="no trust anchor"):
        world.client(tmp_path, anchored=False).refresh()


def test_an_anchor_is_never_replaced(world: World, tmp_path: Path) -> None:
    client = world.client(tmp_path)
    client.anchor(world.rows["root"].data)  # the same again changes nothing
    with pytest.raises(Untrusted, match="cannot replace the trust anchor"):
        client.anchor(World().rows["root"].data)
    assert client.root_version() == 1
    with pytest.raises(Untrusted, match="another trust domain"):
        client.follow([World().rows["root"].data])


def test_the_anchor_of_another_fleet_is_refused(world: World, tmp_path: Path) -> None:
    client = Client(tmp_path, world.fetch, Policy("plant-7"), world.clock)
    with pytest.raises(Untrusted, match="fleet 'default'"):
        client.anchor(world.rows["root"].data)
    assert not client.has_anchor()


def test_root_keys_rotate_along_the_chain(world: World, tmp_path: Path) -> None:
    client = _refreshed(world, tmp_path)
    chain = [world.rows["root"].data]
    for _ in range(3):
        chain.append(world.resign_root(keys={"root": new_signer()}).data)
    client.refresh()
    assert client.root_version() == 4
    fresh = Client(tmp_path / "other", world.fetch, Policy("default"), world.clock)
    fresh.anchor(chain[0])
    fresh.follow(chain)
    assert fresh.root_version() == 4
    fresh.follow(chain[:2])  # a node restored from a backup has a shorter chain; that loses nothing
    assert fresh.root_version() == 4


@pytest.mark.parametrize("signers", ["only-new", "only-old", "stranger"])
def test_a_root_must_be_signed_by_the_old_and_the_new_key(world: World, tmp_path: Path, signers: str) -> None:
    client = _refreshed(world, tmp_path)
    old, new = world.keys["root"], new_signer()
    chosen = {"only-new": [new], "only-old": [old], "stranger": [new_signer()]}[signers]
    root = world.resign_root(keys={"root": new}, signers=[*chosen])
    with pytest.raises(Untrusted, match="cannot accept the role root"):
        client.refresh()
    with pytest.raises(Untrusted, match="cannot accept the role root"):
        client.follow([root.data])
    assert client.root_version() == 1


def test_a_chain_with_a_gap_is_refused(world: World, tmp_path: Path) -> None:
    client = world.client(tmp_path)
    world.resign_root()
    third = world.resign_root()
    with pytest.raises(Untrusted, match="version"):
        client.follow([third.data])


def test_the_root_cannot_move_to_another_fleet(world: World, tmp_path: Path) -> None:
    client = world.client(tmp_path)
    root = roles.new_root("plant-7", world.keys, world.clock.now(), 2)
    world.put({"root": roles.sign("root", root, [world.keys["root"]])})
    with pytest.raises(Untrusted, match="plant-7"):
        client.refresh()


def test_rotated_online_keys_recover_from_a_fast_forward(world: World, tmp_path: Path) -> None:
    """Whoever stole the online keys signed a version far in the future; new keys start again below it."""
    client = _refreshed(world, tmp_path)
    far = world.clock.now() + timedelta(days=3650)
    snapshot = roles.sign(
        "snapshot",
        roles.new_snapshot({"targets": 1}, int(far.timestamp()), world.clock.now()),
        [world.keys["snapshot"]],
    )
    stamp = roles.new_timestamp(snapshot, int(far.timestamp()), world.clock.now())
    honest = dict(world.served)
    world.served["metadata/timestamp.json"] = roles.sign("timestamp", stamp, [world.keys["timestamp"]]).data
    with pytest.raises(TidegateError):
        client.refresh()
    world.served = honest
    with pytest.raises(Untrusted):
        client.refresh()
    world.resign_root(keys={"snapshot": new_signer(), "timestamp": new_signer()})
    world.seal({})
    client.refresh()


# -- rollback, freeze, tampering --------------------------------------------------------------------------------------


def test_an_older_timestamp_is_refused(world: World, tmp_path: Path) -> None:
    old = dict(world.served)
    world.publish(Change(add=(entry(PATH),)))
    client = _refreshed(world, tmp_path)
    world.served = old
    with pytest.raises(Untrusted, match="timestamp"):
        client.refresh()


def test_an_older_snapshot_under_a_new_timestamp_is_refused(world: World, tmp_path: Path) -> None:
    old = dict(world.rows)
    world.publish(Change(add=(entry(PATH),)))
    client = _refreshed(world, tmp_path)
    world.clock.advance(timedelta(hours=1))
    world.put(repository.resign_timestamp(old, world.keys, world.clock.now()))
    with pytest.raises(Untrusted, match="snapshot version"):
        client.refresh()


def test_a_snapshot_that_lowers_or_drops_a_bin_is_refused(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH),)))
    _refreshed(world, tmp_path)
    versions = {
        name.removesuffix(".json"): m.version for name, m in roles.read_snapshot(world.rows["snapshot"]).meta.items()
    }
    (touched,) = repository.bins_for(world.rows, [PATH])
    honest = dict(world.served), dict(world.rows)
    for forged in ({**versions, touched: versions[touched] - 1}, {k: v for k, v in versions.items() if k != touched}):
        world.served, world.rows = dict(honest[0]), dict(honest[1])
        world.clock.advance(timedelta(minutes=1))
        now = world.clock.now()
        snapshot = roles.sign(
            "snapshot", roles.new_snapshot(forged, int(now.timestamp()), now), [world.keys["snapshot"]]
        )
        stamp = roles.new_timestamp(snapshot, int(now.timestamp()), now)
        world.put({"snapshot": snapshot, "timestamp": roles.sign("timestamp", stamp, [world.keys["timestamp"]])})
        with pytest.raises(Untrusted, match="snapshot"):
            world.client(tmp_path).refresh()


@pytest.mark.parametrize(
    ("after", "expired"),
    [(timedelta(days=1, seconds=1), "timestamp"), (timedelta(days=8), "snapshot"), (timedelta(days=400), "root")],
)
def test_frozen_metadata_is_refused(world: World, tmp_path: Path, after: timedelta, expired: str) -> None:
    client = _refreshed(world, tmp_path)
    world.clock.advance(after)
    if expired == "snapshot":
        world.put(repository.resign_timestamp(world.rows, world.keys, world.clock.now()))
    with pytest.raises(Untrusted, match=f"{expired}.* expired"):
        client.refresh()


def test_an_expired_bin_is_refused(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH),)))
    world.clock.advance(timedelta(days=91))
    fresh = repository.renew_publisher(world.rows, ["publisher"], world.keys["publisher"], world.clock.now())
    world.seal(fresh)
    client = _refreshed(world, tmp_path)
    with pytest.raises(Untrusted, match="expired"):
        client.find(PATH)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "publisher", "bin"])
@pytest.mark.parametrize("how", ["tampered", "unsigned", "stranger", "other-kind", "garbage", "too-long", "empty"])
def test_documents_that_do_not_verify_are_refused(world: World, tmp_path: Path, role: str, how: str) -> None:
    world.publish(Change(add=(entry(PATH),)))
    name = next(iter(repository.bins_for(world.rows, [PATH]))) if role == "bin" else role
    row = world.rows[name]
    file = "metadata/timestamp.json" if name == "timestamp" else f"metadata/{row.version}.{name}.json"
    document: dict[str, Any] = json.loads(row.data)
    if how == "tampered":
        document["signed"]["expires"] = "2036-01-01T00:00:00Z"
    elif how == "unsigned":
        document["signatures"] = []
    elif how == "stranger":
        stranger = new_signer()
        document["signatures"][0]["sig"] = stranger.sign(b"other").hex()
    elif how == "other-kind":
        document = json.loads(world.rows["root"].data)
    forged = json.dumps(document).encode()
    forged = {"garbage": b"\xff{", "too-long": b" " * 5_000_001, "empty": b""}.get(how, forged)
    world.served[file] = forged
    client = world.client(tmp_path)
    with pytest.raises(Untrusted):
        client.refresh()
        client.find(PATH)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hostile_json_is_always_a_typed_refusal(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any part of any document replaced by any JSON value: refused, or harmless, but never another exception."""
    world = World()
    world.publish(Change(add=(entry(PATH),)))
    name = data.draw(st.sampled_from(["root", "timestamp", "snapshot", "targets", "publisher"]))
    document = json.loads(world.rows[name].data)
    node: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        if isinstance(node, dict) and node:
            key = data.draw(st.sampled_from(sorted(node)))
        elif isinstance(node, list) and node:
            key = 0
        else:
            break
        if isinstance(node[key], dict | list):
            node = node[key]
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    value = data.draw(
        st.recursive(
            leaf,
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
            max_leaves=4,
        )
    )
    if isinstance(node, dict) and node:
        node[data.draw(st.sampled_from(sorted(node)))] = value
    elif isinstance(node, list):
        node.append(value)
    row = world.rows[name]
    version = row.version + 1 if name == "root" else row.version
    file = "timestamp" if name == "timestamp" else f"{version}.{name}"
    client = world.client(tmp_path_factory.mktemp("device"))
    world.served[f"metadata/{file}.json"] = json.dumps(document).encode()
    try:
        client.refresh()
        client.find(PATH)
    except Untrusted:
        pass


# -- hostile and unavailable are two things ---------------------------------------------------------------------------


def test_a_network_that_fails_is_unavailable(world: World, tmp_path: Path) -> None:
    client = _refreshed(world, tmp_path)

    def broken(path: str, max_bytes: int) -> bytes:
        raise Unavailable("cannot reach the node")

    with pytest.raises(Unavailable):
        Client(tmp_path, broken, Policy("default"), world.clock).refresh()
    del world.served["metadata/timestamp.json"]
    with pytest.raises(NotServed):
        client.refresh()


def test_a_disk_that_refuses_is_unavailable_and_loses_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _refreshed(world, tmp_path)
    world.publish(Change(add=(entry(PATH),)))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            client.refresh()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
    assert list(tmp_path.rglob("*.unfinished")) == []
    client.refresh()
    assert client.find(PATH)


# -- the hole in python-tuf -------------------------------------------------------------------------------------------


class _TwoDelegators:
    """`shared` is delegated by `alpha` (for a/*) and by `beta` (for b/*), with different keys.

    An attacker who holds only beta's key for `shared` serves his own version of it to who asks for b/*.
    """

    def __init__(self) -> None:
        self.world = World()
        world, now = self.world, self.world.clock.now()
        self.good, self.evil, delegator = new_signer(), new_signer(), new_signer()
        parts = {"alpha": ("a/*", self.good), "beta": ("b/*", self.evil)}
        top = Targets(
            version=2,
            expires=roles.expiry("targets", now),
            delegations=Delegations(
                {delegator.key.keyid: delegator.key},
                roles={
                    name: DelegatedRole(name, [delegator.key.keyid], 1, True, [paths])
                    for name, (paths, _) in parts.items()
                },
            ),
        )
        made = {"targets": roles.sign("targets", top, [world.keys["targets"]])}
        for name, (paths, key) in parts.items():
            delegations = Delegations(
                {key.key.keyid: key.key}, roles={"shared": DelegatedRole("shared", [key.key.keyid], 1, True, [paths])}
            )
            signed = Targets(version=1, expires=roles.expiry("targets", now), delegations=delegations)
            made[name] = roles.sign("publisher", signed, [delegator])
            made[name] = Row(name, 1, made[name].data, made[name].expires_at)
        versions = {"targets": 2, "alpha": 1, "beta": 1, "shared": 1}
        snapshot = roles.sign(
            "snapshot", roles.new_snapshot(versions, int(now.timestamp()) + 1, now), [world.keys["snapshot"]]
        )
        stamp = roles.new_timestamp(snapshot, int(now.timestamp()) + 1, now)
        world.put(
            {**made, "snapshot": snapshot, "timestamp": roles.sign("timestamp", stamp, [world.keys["timestamp"]])}
        )
        self.genuine = self._shared(self.good, "1" * 64)
        self.forged = self._shared(self.evil, "6" * 64)

    def _shared(self, key: Any, sha256: str) -> bytes:
        targets = {path: TargetFile(1, {"sha256": sha256}, path) for path in ("a/1", "a/2", "b/1")}
        signed = Targets(version=1, expires=roles.expiry("targets", self.world.clock.now()), targets=targets)
        return roles.sign("publisher", signed, [key]).data

    def serve(self, data: bytes) -> None:
        self.world.served["metadata/1.shared.json"] = data


class _StockFetcher(FetcherInterface):
    def __init__(self, world: World) -> None:
        self._world = world

    def _fetch(self, url: str) -> Any:
        try:
            return iter([self._world.fetch(url.removeprefix("https://repository/"), 0)])
        except NotServed as error:
            raise DownloadHTTPError(str(error), 404) from error


def test_stock_python_tuf_takes_a_role_verified_for_one_delegator_for_anothers(tmp_path: Path) -> None:
    """The reason for our own walk; when this fails, python-tuf has closed the hole and ours can be looked at again."""
    attack = _TwoDelegators()
    attack.world.clock.advance(timedelta(0))
    stock = Updater(
        str(tmp_path),
        "https://repository/metadata/",
        fetcher=_StockFetcher(attack.world),
        bootstrap=attack.world.rows["root"].data,
    )
    stock._trusted_set.reference_time = attack.world.clock.now()
    attack.serve(attack.genuine)
    found = stock.get_targetinfo("a/1")
    assert found is not None
    assert found.hashes["sha256"] == "1" * 64
    attack.serve(attack.forged)
    assert stock.get_targetinfo("b/1") is not None
    again = stock.get_targetinfo("a/2")
    assert again is not None
    assert again.hashes["sha256"] == "6" * 64, "signed by beta's key only, and taken for alpha's"


def test_a_role_is_verified_against_the_delegator_that_leads_to_it_now(tmp_path: Path) -> None:
    attack = _TwoDelegators()
    client = attack.world.client(tmp_path)
    client.refresh()
    attack.serve(attack.genuine)
    assert client.find("a/1").sha256 == "1" * 64
    attack.serve(attack.forged)
    assert client.find("b/1").sha256 == "6" * 64
    assert client.find("a/2").sha256 == "1" * 64
    # The same across processes: what lies in the folder was verified for beta.
    later = attack.world.client(tmp_path)
    later.refresh()
    with pytest.raises(Untrusted, match="shared"):
        later.find("a/2")
    attack.serve(attack.genuine)
    assert later.find("a/2").sha256 == "1" * 64


def test_a_cached_role_is_refused_once_its_delegator_names_another_key(world: World, tmp_path: Path) -> None:
    world.publish(Change(add=(entry(PATH),)))
    assert _refreshed(world, tmp_path).find(PATH)
    world.clock.advance(timedelta(seconds=5))
    new = new_signer()
    targets = roles.new_targets("default", new, world.clock.now(), 2)
    bits, version = roles.FIRST_BIN_BITS, world.rows["publisher"].version + 1
    publisher = roles.new_publisher(new, bits, version, world.clock.now())
    world.seal(
        {
            "targets": roles.sign("targets", targets, [world.keys["targets"]]),
            "publisher": roles.sign("publisher", publisher, [new]),
        }
    )
    client = _refreshed(world, tmp_path)
    with pytest.raises(Untrusted, match="cannot accept the role bins16-"):
        client.find(PATH)


def test_delegations_in_a_circle_end(world: World, tmp_path: Path) -> None:
    now, key = world.clock.now(), new_signer()
    circle = Delegations(
        {key.key.keyid: key.key}, roles={"loop": DelegatedRole("loop", [key.key.keyid], 1, False, ["*"])}
    )
    top = Targets(version=2, expires=roles.expiry("targets", now), delegations=circle)
    loop = roles.sign("publisher", Targets(version=1, expires=roles.expiry("targets", now), delegations=circle), [key])
    world.seal(
        {
            "targets": roles.sign("targets", top, [world.keys["targets"]]),
            "loop": Row("loop", 1, loop.data, loop.expires_at),
        }
    )
    client = _refreshed(world, tmp_path)
    with pytest.raises(Untrusted, match="cannot find"):
        client.find("nothing")
    assert world.fetched.count("metadata/1.loop.json") == 1
