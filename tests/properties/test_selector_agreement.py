"""Any selector against any devices: the pure evaluator and both databases name the same ones."""

from __future__ import annotations

import random

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tidegate.control.domain.fleets import DEFAULT_FLEET
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine, facts, fleets, selectors
from tidegate.control.store.engine import Database
from tidegate.ids import DeviceId, FleetId
from tidegate.wire.device import HardwareProfile
from tidegate.wire.selector import DEVICE, All, Compare, Contains, Expression, Not, OneOf, Some, matches, parse, written
from tidegate.wire.selector.columns import OPERATORS

DEVICES = 150
#: What devices have and selectors ask, from one small pot, so that they meet; with what databases like to treat apart:
#: case, accents, wildcards, blanks at the end, characters beyond the first plane.
WORDS = (
    "arm64",
    "ARM64",
    "amd64",
    "a",
    "ab",
    "é",
    "e\u0301",
    "a%",
    "a_",
    "a ",
    "😀x",
    "😀",
    "22.04",
    "22.4",
    "22.4-rc1",
    "v",
)
NUMBERS = (0, 1, 2, 7, 8 << 30, 2**53)
KEYS = ("site", "line", "a.b-c")
LABELS = ("nvidia-gpu", "coral-tpu", "a", "A")


def _fleet(database: Database) -> FleetId:
    with database.write() as tx:
        return fleets.insert(tx, DEFAULT_FLEET, at=engine.now(tx), interval_seconds=30).id


def _populate(database: Database, fleet_id: FleetId) -> None:
    """Devices of every kind, some with nothing known of them, one decommissioned, and one of another fleet."""
    chance = random.Random(4)

    def maybe(among: tuple[str, ...]) -> str:
        return chance.choice((*among, "", ""))

    with database.write() as tx:
        now = engine.now(tx)
        for number in range(DEVICES):
            device_id = device_store.insert(tx, fleet_id, f"{chance.choice(('edge', 'cam'))}-{number}", now)
            if number % 10 == 0:
                continue  # never registered
            hardware = HardwareProfile(
                **{name: maybe(WORDS) for name, kind in DEVICE.items() if _is_word(name, kind)},
                **{name: chance.choice(NUMBERS) for name in ("ram_bytes", "disk_bytes")},
                cpu_count=chance.choice(NUMBERS[:4]),
                **{name: tuple(set(chance.choices(LABELS, k=chance.randint(0, 3)))) for name in ("accelerators",)},
                runtimes=tuple(chance.choices(LABELS, k=chance.randint(0, 2))),
            )
            declared = {key: chance.choice(WORDS) for key in KEYS if chance.random() < 0.5}
            agent_version = maybe(WORDS)
            facts.write(tx, device_id, hardware, agent_version, declared)
            documents = {"hardware": msgspec.json.encode(hardware), "declared_tags": msgspec.json.encode(declared)}
            texts = {name: document.decode() for name, document in documents.items()}
            device_store.update(tx, device_id, agent_version=agent_version, **texts)
            device_store.set_tags(tx, device_id, {key: chance.choice(WORDS) for key in KEYS if chance.random() < 0.5})
        device_store.update(tx, DeviceId(device_id), state="decommissioned")
        other = fleets.insert(tx, "other", at=now, interval_seconds=30).id
        facts.write(tx, device_store.insert(tx, other, "edge-1", now), HardwareProfile(arch="arm64"), "1", {})


def _is_word(name: str, kind: str) -> bool:
    return kind in ("text", "version") and name not in ("name", "agent_version", "tags.", "declared.")


SIDES = [f"{side}.{key}" for side in ("tags", "declared") for key in KEYS]
NAMES = st.sampled_from([name for name in DEVICE if not name.endswith(".")] + SIDES)


def _kind(name: str) -> str:
    return DEVICE.get(name, "text")


@st.composite
def leaf(draw: st.DrawFn) -> Expression:
    name = draw(NAMES)
    kind = _kind(name)
    if kind == "set":
        return Contains(name, draw(st.sampled_from(LABELS)))
    value = st.sampled_from(NUMBERS) if kind == "number" else st.sampled_from((*WORDS, "edge-", "cam-1", ""))
    if draw(st.booleans()):
        return OneOf(name, tuple(draw(st.lists(value, min_size=1, max_size=3))), draw(st.booleans()))
    return Compare(name, draw(st.sampled_from(OPERATORS[kind])), draw(value))  # type: ignore[index]


TREES: st.SearchStrategy[Expression] = st.recursive(
    leaf(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Some(tuple(parts))),
    ),
    max_leaves=8,
)


def test_the_database_and_the_pure_evaluator_agree(database: Database) -> None:
    fleet_id = _fleet(database)
    _populate(database, fleet_id)
    with database.read() as tx:
        living = selectors.matching(fleet_id, parse('name != ""'))
        subjects = facts.subjects(tx, [DeviceId(row.id) for row in tx.execute(living)])
        assert len(subjects) == DEVICES - 1
        seen = {"some": 0, "all or none": 0}

        @settings(max_examples=40, phases=[Phase.generate, Phase.shrink])
        @given(st.lists(TREES, min_size=4, max_size=4))
        def agree(trees: list[Expression]) -> None:
            parsed = [parse(written(tree)) for tree in trees]
            assert parsed == trees
            counted = tx.execute(selectors.counted(fleet_id, parsed)).one()
            for tree, count in zip(parsed, counted, strict=True):
                asked = {DeviceId(row.id) for row in tx.execute(selectors.matching(fleet_id, tree))}
                judged = {device_id for device_id, subject in subjects.items() if matches(tree, subject)}
                assert asked == judged, written(tree)
                assert int(count) == len(judged)
                seen["some" if 0 < len(judged) < len(subjects) else "all or none"] += 1

        agree()
        # The pot is rich enough to tell right from wrong.
        assert seen["some"] > seen["all or none"]
