"""Selectors as long as they may be: whoever may look can ask with one, so none may hold up the database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import EVERY_FLEET
from tidegate.control.problems import understood
from tidegate.control.services import device_sheet
from tidegate.control.services.node import Node
from tidegate.control.store import selectors
from tidegate.control.store.engine import Database
from tidegate.errors import Unavailable
from tidegate.ids import FleetId
from tidegate.testing.node import admin_scope
from tidegate.wire.selector import parse

_LONGEST = {
    "tags": " and ".join(['tags.a != "b"'] * 120),
    "sets": " and ".join(['"a" in runtimes'] * 120),
    "declared": " and ".join(['declared.a == "b"'] * 100),
    "either": " or ".join(['tags.a != "b"'] * 120),
    "each": " and ".join(f'(tags.a{number} == "b" or "a" in runtimes)' for number in range(50)),
}


@pytest.mark.parametrize("kind", _LONGEST)
def test_the_longest_selectors_are_answered(database: Database, kind: str) -> None:
    tree = parse(_LONGEST[kind])
    with database.read() as tx:
        if tx.dialect.name == "postgresql":  # ordering that many joins takes longer than anybody waits
            tx.execute(sa.text("SET LOCAL statement_timeout = 20000"))
        assert selectors.named(tx, FleetId(EVERY_FLEET + 1), tree, 20) == (0, ())


def test_a_sheet_that_names_very_many_groups_is_told_its_mistakes(node: Node) -> None:
    raw = b"name,groups\n" + b"".join(b"d%d,g%d h%d\n" % (number, number, number) for number in range(33_000))
    found = device_sheet.preview(admin_scope(node), node, device_sheet.read(raw), "skip")
    assert found.wrong == 66_000


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_endless_question_does_not_hold_the_database(database: Database) -> None:
    with database.read() as tx:
        assert tx.scalar(sa.text("SHOW statement_timeout")) == "2min"
        tx.execute(sa.text("SET LOCAL statement_timeout = 50"))
        with pytest.raises(sa.exc.OperationalError) as ended:
            tx.execute(sa.text("SELECT pg_sleep(20)"))
    problem = understood(ended.value)
    assert isinstance(problem, Unavailable)
    assert "took too long" in problem.detail
