"""Creating calls at most once per actor, fleet and Idempotency-Key (SPEC section 13).

The intent is committed before the act: a node that dies in between leaves a key that answers "cannot tell", never one
that creates a second time.
"""

from __future__ import annotations

import re

from sqlalchemy.exc import IntegrityError

from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.control.store import engine
from tidegate.control.store import idempotency as store
from tidegate.errors import Conflict, FieldError, Invalid

_KEY = re.compile(r"[!-~]{1,128}")


def begin(node: Node, scope: Scope, key: str, request_sha256: str) -> bytes | None:
    """Note that this call is about to be carried out; gives the stored answer when it was already.

    Raises:
        Invalid: the key's grammar, or it was used for another request.
        Conflict: the first call with this key is still under way, was cut off, or its answer bore a secret.
    """
    if _KEY.fullmatch(key) is None:
        rule = "must be 1 to 128 printable ASCII characters without blanks"
        raise Invalid(f"cannot use this Idempotency-Key: it {rule}", (FieldError("", rule),))
    try:
        with node.db.write() as tx:
            stored = store.begin(tx, _whose(scope), key, request_sha256, engine.now(tx))
    except IntegrityError as error:  # two first calls at once on PostgreSQL; the other one won
        raise _under_way() from error
    if stored is None:
        return None
    if stored.request_sha256 != request_sha256:
        raise Invalid(
            "cannot use this Idempotency-Key again: it belongs to another request", type="idempotency-key-reused"
        )
    if stored.status == store.BEGUN:
        raise _under_way()
    if stored.body is None:
        raise Conflict(
            f"cannot show the answer again, it bore a secret: the first request created id {stored.subject}",
            type="idempotency-secret",
        )
    return stored.body


def finish(node: Node, scope: Scope, key: str, *, status: int, body: bytes | None, subject: str) -> None:
    """Keep the answer; `body` None where it bore a secret."""
    with node.db.write() as tx:
        store.finish(tx, _whose(scope), key, status=status, body=body, subject=subject)


def forget(node: Node, scope: Scope, key: str) -> None:
    """The call was refused and changed nothing: the key may be used for a better one."""
    with node.db.write() as tx:
        store.forget(tx, _whose(scope), key)


def _whose(scope: Scope) -> str:
    """Two fleets may have an API key of the same name; what one has asked is nothing to the other."""
    return f"{scope.fleet_id}/{scope.actor}"


def _under_way() -> Conflict:
    return Conflict(
        "cannot tell yet what became of the first request with this Idempotency-Key: it is under way or was cut off;"
        " look whether the thing exists before you use a new key",
        type="idempotency-unknown",
    )
