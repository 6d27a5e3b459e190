"""Attempts to show who one is: refused while too many failed, counted for all replicas, in rows that outlive a restart.

What goes on at the same time is known to this process alone; what failed is a row. Nothing is written for an attempt
that succeeds, unless some of the same key failed before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidegate.control.domain.attempts import Backoff, Rule
from tidegate.control.services import secrets
from tidegate.control.services.node import Node
from tidegate.control.store import attempts as store
from tidegate.control.store import engine
from tidegate.errors import TooMany

#: A flood from many addresses takes no more than this of the disk; so often it is looked at.
MOST_ROWS, PRUNE_EVERY = 100_000, 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that goes on; it counts for nothing unless it is said to have `failed` or `succeeded`."""

    node: Node
    keys: tuple[tuple[Rule, str], ...]
    seen: frozenset[tuple[str, str]]

    def failed(self) -> None:
        with self.node.db.write() as tx:
            now = engine.now(tx)
            for rule, key in self.keys:
                store.count(tx, rule, key, now)
            if next(self.node.limits.failures) % PRUNE_EVERY == 0:
                store.prune(tx, now, MOST_ROWS)

    def succeeded(self) -> None:
        """Whoever backed off begins anew; what an address or a name has failed stays counted."""
        over = [(rule, key) for rule, key in self.keys if isinstance(rule, Backoff) and (rule.name, key) in self.seen]
        if over:
            with self.node.db.write() as tx:
                for rule, key in over:
                    store.forget(tx, rule, key)


@contextmanager
def attempt(node: Node, *counted: tuple[Rule, str]) -> Iterator[Attempt]:
    """An attempt under these rules and keys.

    Raises:
        TooMany: its time has not come, by one of them.
    """
    keys = tuple((rule, secrets.digest(key)) for rule, key in counted)
    with node.limits.under_way.one_more([(rule.name, key) for rule, key in keys]) as others:
        with node.db.read() as tx:
            now = engine.now(tx)
            seen = store.find(tx, keys, now)
        left = max(
            rule.wait(seen.get((rule.name, key)), before, now) for (rule, key), before in zip(keys, others, strict=True)
        )
        if left > 0:
            seconds = int(left) + 1
            raise TooMany(f"cannot try again for {seconds} seconds: too many failures", retry_after_seconds=seconds)
        yield Attempt(node, keys, frozenset(seen))
