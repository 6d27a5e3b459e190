"""The table of variants: what happens to the honest repository, and whether a reader must then accept it.

`warm`: the reader has read the honest repository before. `holes` names readers with a known defect, who do the
opposite of what is right; it is asserted that they do, so that the table is told when one is mended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.interop.repository import CONTENT, DESCRIPTOR, FILE, OTHER, WITHDRAWN, Repository, expired
from tuf.api.metadata import DelegatedRole, Delegations, Key, MetaFile, TargetFile, Targets

from tidegate.testing.tuf import new_signer
from tidegate.trust.tuf import roles
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.trust.tuf.roles import PUBLISHER

PYTHON_TUF, TUF_JS = "python-tuf", "tuf-js"


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    change: Callable[[Repository], None]
    accepted: bool = False
    warm: bool = False
    paths: tuple[str, ...] = (FILE,)
    holes: Mapping[str, str] = field(default_factory=dict)


VARIANTS: list[Variant] = []


def variant(**how: Any) -> Callable[[Callable[[Repository], None]], Callable[[Repository], None]]:
    def add(change: Callable[[Repository], None]) -> Callable[[Repository], None]:
        VARIANTS.append(Variant(change.__name__.replace("_", " "), change, **how))
        return change

    return add


def each(*items: Any, **how: Any) -> Callable[[Callable[[Repository, Any], None]], None]:
    """One variant for each item; the name ends with it."""

    def add(change: Callable[[Repository, Any], None]) -> None:
        for item in items:
            name = f"{change.__name__.replace('_', ' ')} {item}"
            VARIANTS.append(Variant(name, lambda repo, item=item: change(repo, item), **how))  # type: ignore[misc]

    return add


def _role(repo: Repository, role: str) -> str:
    return repo.bin_of(FILE) if role == "bin" else role


def _json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def rewrite(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return rewrite


# -- accepted ---------------------------------------------------------------------------------------------------------


@variant(accepted=True, paths=(FILE, DESCRIPTOR, OTHER))
def everything_as_it_was_published(_repo: Repository) -> None:
    pass


@variant(accepted=True, warm=True)
def nothing_has_changed(_repo: Repository) -> None:
    pass


@variant(accepted=True, warm=True, paths=(FILE, "default/new/1/new.bin"))
def one_more_target_was_published(repo: Repository) -> None:
    entry = TargetEntry("default/new/1/new.bin", 3, hashlib.sha256(b"new").hexdigest())
    repo.publish(Change(add=(entry,)))
    repo.serve_target(entry.path, b"new")


@each("root", "timestamp", "snapshot", "targets", PUBLISHER, "bin", accepted=True)
def unknown_fields_in_any_language_in(repo: Repository, role: str) -> None:
    def change(signed: Any) -> None:
        signed.unrecognized_fields["x-über"] = {"\u2028": ['"\\', "\x7f", 0, -1, None, True, {"b": 1, "a": {}}]}

    repo.resign(_role(repo, role), change)


@variant(accepted=True)
def a_valid_signature_beside_a_broken_one(repo: Repository) -> None:
    def change(document: Any) -> None:
        keyid = next(iter(repo.signed("root").roles["root"].keyids))
        document["signatures"].append({"keyid": keyid, "sig": "00" * 64})

    repo.rewrite("timestamp", _json(change))


@variant(accepted=True)
def a_signature_by_an_unknown_key_beside_the_right_one(repo: Repository) -> None:
    repo.resign("timestamp", signers=[new_signer(), repo.keys["timestamp"]])


@variant(accepted=True, warm=True)
def new_online_keys_begin_below_a_version_from_the_far_future(repo: Repository) -> None:
    repo.resign_root(keys={"snapshot": new_signer(), "timestamp": new_signer()})
    repo.seal({})


@variant(accepted=True, warm=True)
def an_expired_root_that_is_followed_by_a_fresh_one(repo: Repository) -> None:
    repo.resign("root", expired(repo.clock.now()))
    repo.resign_root()


@variant(accepted=True)
def twenty_roots_in_a_row(repo: Repository) -> None:
    for _ in range(20):
        repo.resign_root(keys={"root": new_signer()})


@variant(accepted=True)
def hashes_and_lengths_of_all_roles_in_the_snapshot(repo: Repository) -> None:
    def change(signed: Any) -> None:
        for name, meta in signed.meta.items():
            row = repo.rows[name.removesuffix(".json")]
            signed.meta[name] = MetaFile.from_data(meta.version, row.data, ["sha256", "sha512"])

    repo.resign("snapshot", change)


@variant(accepted=True)
def two_hashes_of_a_target_both_right(repo: Repository) -> None:
    repo.resign(repo.bin_of(FILE), _hashes(sha512=hashlib.sha512(CONTENT).hexdigest()))


@variant(accepted=True)
def a_second_delegation_answers_where_the_first_knows_nothing(repo: Repository) -> None:
    _delegate(repo, ("first", False), ("second", False), holder="second")


@variant(accepted=True)
def delegations_in_a_circle(repo: Repository) -> None:
    _delegate(repo, ("first", False), ("second", False), holder="second", circle=True)


@variant(accepted=True)
def a_role_whose_name_must_be_quoted(repo: Repository) -> None:
    _delegate(repo, ("a b/../ü?#%", False), holder="a b/../ü?#%")


# -- tampered with ----------------------------------------------------------------------------------------------------


@each("root", "timestamp", "snapshot", "targets", PUBLISHER, "bin")
def one_signed_field_altered_in(repo: Repository, role: str) -> None:
    def change(document: Any) -> None:
        document["signed"]["x-altered"] = 1

    if role == "root":
        repo.resign_root()
    repo.rewrite(_role(repo, role), _json(change))


@each(b"", b"null", b"[]", b'{"signed": {}}', b"\xff\xfe", b'{"signatures":' + b"[" * 50_000)
def timestamp_that_is_no_metadata(repo: Repository, data: bytes) -> None:
    repo.rewrite("timestamp", lambda _data: data)


@variant()
def a_timestamp_longer_than_any_reader_takes(repo: Repository) -> None:
    repo.rewrite("timestamp", lambda data: data + b" " * 20_000)


@variant()
def a_target_with_one_byte_altered(repo: Repository) -> None:
    repo.served[repo.target_path(FILE, CONTENT)] = b"T" + CONTENT[1:]


@variant()
def a_target_that_is_longer(repo: Repository) -> None:
    repo.served[repo.target_path(FILE, CONTENT)] = CONTENT + b"!"


@variant()
def a_target_that_is_cut_short(repo: Repository) -> None:
    repo.served[repo.target_path(FILE, CONTENT)] = CONTENT[:-1]


@variant()
def a_target_that_is_another_target(repo: Repository) -> None:
    repo.served[repo.target_path(FILE, CONTENT)] = b"the first weights"


@variant()
def a_target_that_is_not_there(repo: Repository) -> None:
    del repo.served[repo.target_path(FILE, CONTENT)]


@each("timestamp", "snapshot", "targets", PUBLISHER, "bin")
def missing(repo: Repository, role: str) -> None:
    del repo.served[repo.name(_role(repo, role))]


@variant()
def a_snapshot_in_the_place_of_the_timestamp(repo: Repository) -> None:
    repo.rewrite("timestamp", lambda _data: repo.rows["snapshot"].data)


@variant()
def a_bin_in_the_place_of_another(repo: Repository) -> None:
    repo.rewrite(repo.bin_of(FILE), lambda _data: repo.rows[repo.bin_of(OTHER)].data)


# -- rolled back ------------------------------------------------------------------------------------------------------


@variant(warm=True)
def an_older_timestamp(repo: Repository) -> None:
    repo.resign("timestamp", lambda signed: setattr(signed, "version", signed.version - 2))


@variant(warm=True)
def an_older_snapshot_under_a_newer_timestamp(repo: Repository) -> None:
    repo.resign("snapshot", lambda signed: setattr(signed, "version", signed.version - 2))


@each("targets", PUBLISHER, "bin", warm=True)
def a_snapshot_that_lowers(repo: Repository, role: str) -> None:
    def change(signed: Any) -> None:
        signed.meta[f"{_role(repo, role)}.json"].version -= 1

    repo.resign("snapshot", change)


@variant(warm=True)
def a_snapshot_that_drops_a_bin(repo: Repository) -> None:
    repo.resign("snapshot", lambda signed: signed.meta.pop(f"{repo.bin_of(OTHER)}.json"))


@each("targets", PUBLISHER, "bin")
def the_last_version_under_the_name_of_the_new(repo: Repository, role: str) -> None:
    last = repo.rows[_role(repo, role)].data
    repo.resign(_role(repo, role))
    repo.rewrite(_role(repo, role), lambda _data: last)


@variant()
def a_root_that_leaves_out_a_version(repo: Repository) -> None:
    place = f"metadata/{repo.rows['root'].version + 1}.root.json"
    repo.resign_root()
    repo.resign_root()
    repo.served[place] = repo.rows["root"].data


@variant()
def a_root_of_the_version_that_is_trusted_already(repo: Repository) -> None:
    repo.served[f"metadata/{repo.rows['root'].version + 1}.root.json"] = repo.rows["root"].data


@variant(paths=(WITHDRAWN,))
def a_target_that_was_withdrawn(_repo: Repository) -> None:
    pass


@variant(warm=True)
def a_target_that_is_withdrawn_now(repo: Repository) -> None:
    repo.publish(Change(remove=(FILE,)))


# -- frozen -----------------------------------------------------------------------------------------------------------


@each("root", "timestamp", "snapshot", "targets", PUBLISHER, "bin")
def expired_since_half_a_minute(repo: Repository, role: str) -> None:
    repo.resign(_role(repo, role), expired(repo.clock.now()))


@variant(warm=True)
def a_timestamp_that_expired_although_it_is_newer(repo: Repository) -> None:
    repo.resign("timestamp", expired(repo.clock.now() - timedelta(days=400)))


# -- wrongly signed ---------------------------------------------------------------------------------------------------


@each("timestamp", "snapshot", "targets", PUBLISHER, "bin")
def signed_by_a_stranger(repo: Repository, role: str) -> None:
    repo.resign(_role(repo, role), signers=[new_signer()])


@each("timestamp", "snapshot", "targets", PUBLISHER)
def signed_by_the_key_of_another_role(repo: Repository, role: str) -> None:
    others = {"timestamp": "snapshot", "snapshot": "timestamp", "targets": PUBLISHER, PUBLISHER: "targets"}
    repo.resign(role, signers=[repo.keys[others[role]]])


@each("timestamp", "snapshot", "targets", PUBLISHER, "bin")
def not_signed_at_all(repo: Repository, role: str) -> None:
    repo.resign(_role(repo, role), signers=[])


@each("only-old", "only-new", "stranger")
def a_root_signed_by(repo: Repository, who: str) -> None:
    old, new = repo.keys["root"], new_signer()
    signers = {"only-old": [old], "only-new": [new], "stranger": [new_signer()]}[who]
    repo.resign_root(keys={"root": new}, signers=[*signers])


@variant()
def a_signature_that_is_no_hex(repo: Repository) -> None:
    repo.rewrite("timestamp", _json(lambda document: document["signatures"][0].update(sig="zz")))


@variant()
def a_threshold_of_two_and_the_same_signature_twice(repo: Repository) -> None:
    def change(signed: Any) -> None:
        signed.add_key(new_signer().key, "timestamp")
        signed.roles["timestamp"].threshold = 2

    repo.resign("root", change)
    repo.rewrite("timestamp", _json(lambda document: document["signatures"].append(document["signatures"][0])))


@variant(accepted=True)
def a_threshold_of_two_that_the_root_itself_gives_to_one_key_under_two_ids(repo: Repository) -> None:
    key = repo.keys["timestamp"].key

    def change(signed: Any) -> None:
        twin = Key.from_dict("ab" * 32, key.to_dict())
        signed.add_key(twin, "timestamp")
        signed.roles["timestamp"].threshold = 2

    def double(document: Any) -> None:
        document["signatures"].append({**document["signatures"][0], "keyid": "ab" * 32})

    repo.resign("root", change)
    repo.rewrite("timestamp", _json(double))


@variant()
def another_key_than_its_id_says(repo: Repository) -> None:
    stranger = new_signer()

    def change(document: Any) -> None:
        (key,) = [document["signed"]["keys"][i] for i in document["signed"]["roles"]["timestamp"]["keyids"]]
        key["keyval"]["public"] = stranger.key.keyval["public"]

    repo.resign_root()
    repo.rewrite("root", _json(change))


# -- delegations and hashes -------------------------------------------------------------------------------------------


@variant(paths=("elsewhere/vad/2/model.onnx",))
def a_target_outside_of_what_the_publisher_was_given(repo: Repository) -> None:
    path = "elsewhere/vad/2/model.onnx"
    repo.serve_target(path, CONTENT)
    repo.resign(repo.bin_of(path), lambda signed: signed.targets.update({path: _file(path)}))


@variant(paths=("default/vad/2/deep/model.onnx",))
def a_target_deeper_than_what_the_publisher_was_given(repo: Repository) -> None:
    path = "default/vad/2/deep/model.onnx"
    repo.serve_target(path, CONTENT)
    repo.resign(repo.bin_of(path), lambda signed: signed.targets.update({path: _file(path)}))


@variant(paths=("default/stray/1/model.onnx",))
def a_target_in_a_bin_that_is_not_its_own(repo: Repository) -> None:
    path = "default/stray/1/model.onnx"
    wrong = next(name for name in sorted(repo.bins()) if name != repo.bin_of(path))
    repo.serve_target(path, CONTENT)
    repo.resign(wrong, lambda signed: signed.targets.update({path: _file(path)}))


@variant()
def a_terminating_delegation_that_knows_nothing(repo: Repository) -> None:
    _delegate(repo, ("first", True), ("second", False), holder="second")


@variant()
def a_bin_that_the_snapshot_does_not_list(repo: Repository) -> None:
    repo.resign("snapshot", lambda signed: signed.meta.pop(f"{repo.bin_of(FILE)}.json"))


@variant(
    paths=("team-a/x", "team-b/x"),
    holes={TUF_JS: "a role that is loaded is found by its name, whichever delegator leads to it"},
)
def a_role_that_was_verified_for_one_delegator_asked_for_through_another(repo: Repository) -> None:
    _diamond(repo, [("team-a", ("team-a/x", "team-b/x"))])


@variant(
    paths=("team-a/x", "team-b/x", "team-a/y"),
    holes={PYTHON_TUF: "bytes verified for the second delegator take the place of those verified for the first"},
)
def a_role_that_was_verified_for_a_second_delegator_asked_for_through_the_first(repo: Repository) -> None:
    _diamond(repo, [("team-a", ("team-a/x",)), ("team-b", ("team-b/x", "team-a/y"))])


@variant()
def two_hashes_of_a_target_one_wrong(repo: Repository) -> None:
    repo.resign(repo.bin_of(FILE), _hashes(sha512="0" * 128))


@variant()
def only_a_hash_that_nobody_knows(repo: Repository) -> None:
    def change(signed: Any) -> None:
        signed.targets[FILE].hashes = {"crc32": "0" * 64}

    repo.resign(repo.bin_of(FILE), change)
    repo.served[repo.target_path(FILE, CONTENT, "0" * 64)] = CONTENT


@variant()
def a_bin_with_another_hash_than_the_snapshot_says(repo: Repository) -> None:
    def change(signed: Any) -> None:
        signed.meta[f"{repo.bin_of(FILE)}.json"].hashes = {"sha256": "0" * 64}

    repo.resign("snapshot", change)


@variant()
def a_snapshot_with_another_hash_than_the_timestamp_says(repo: Repository) -> None:
    repo.resign("timestamp", lambda signed: signed.snapshot_meta.hashes.update(sha256="0" * 64))


@variant()
def a_target_longer_than_the_metadata_say(repo: Repository) -> None:
    repo.resign(repo.bin_of(FILE), lambda signed: setattr(signed.targets[FILE], "length", len(CONTENT) - 1))


@variant()
def a_specification_of_another_major_version(repo: Repository) -> None:
    repo.resign("timestamp", lambda signed: setattr(signed, "spec_version", "2.0.0"))


def _file(path: str, **hashes: str) -> TargetFile:
    return TargetFile(len(CONTENT), {"sha256": hashlib.sha256(CONTENT).hexdigest(), **hashes}, path)


def _hashes(**hashes: str) -> Callable[[Any], None]:
    def change(signed: Any) -> None:
        signed.targets[FILE] = _file(FILE, **hashes)

    return change


def _new_role(repo: Repository, name: str, *targets: str, signers: list[Any], delegations: Any = None) -> None:
    signed = Targets(
        version=1,
        expires=repo.signed("targets").expires,
        targets={path: _file(path) for path in targets},
        delegations=delegations,
    )
    row = roles.sign(name, signed, signers)
    repo.seal({name: row})
    repo.served.pop(f"metadata/1.{name}.json", None)
    repo.rows[name] = row
    repo.served[f"metadata/1.{name}.json"] = row.data


def _delegate(repo: Repository, *children: tuple[str, bool], holder: str, circle: bool = False) -> None:
    """The top-level role delegates to `children` in this order instead of to the publisher; `holder` has the file."""
    key = new_signer()
    made = {name: DelegatedRole(name, [key.key.keyid], 1, ends, ["default/*/*/*"]) for name, ends in children}
    for name, _ends in children:
        back = Delegations({key.key.keyid: key.key}, roles={first.name: first for first in made.values()})
        _new_role(
            repo, name, *([FILE] if name == holder else []), signers=[key],
            delegations=back if circle and name != holder else None,
        )  # fmt: skip

    def change(signed: Any) -> None:
        signed.delegations = Delegations({key.key.keyid: key.key}, roles=made)

    repo.resign("targets", change)


def _diamond(repo: Repository, releases: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Two parents delegate to one role, each to a key of his own; `releases` are served in turn: by whom, and what."""
    parents, keys = new_signer(), {"team-a": new_signer(), "team-b": new_signer()}
    in_turn = []
    for team, targets in releases:
        _new_role(repo, "release", *targets, signers=[keys[team]])
        in_turn.append(repo.rows["release"].data)
    repo.in_turn = {"metadata/1.release.json": in_turn}
    for team, key in keys.items():
        child = DelegatedRole("release", [key.key.keyid], 1, False, [f"{team}/*"])
        delegations = Delegations({key.key.keyid: key.key}, roles={"release": child})
        _new_role(repo, team, signers=[parents], delegations=delegations)
        repo.serve_target(f"{team}/x", CONTENT)
        repo.serve_target(f"{team}/y", CONTENT)

    def change(signed: Any) -> None:
        made = {team: DelegatedRole(team, [parents.key.keyid], 1, False, [f"{team}/*"]) for team in keys}
        signed.delegations = Delegations({parents.key.keyid: parents.key}, roles=made)

    repo.resign("targets", change)
