"""API keys for tests that speak HTTP."""

from __future__ import annotations

from tidegate.control.services.api_keys import create_api_key
from tidegate.control.services.node import Node
from tidegate.testing.node import admin_scope


def api_key(node: Node, role: str) -> str:
    """The secret of a new key with this role in every fleet."""
    _, secret = create_api_key(admin_scope(node), node, name=f"of-{role}", role=role, every_fleet=True, expires_days=1)
    return secret
