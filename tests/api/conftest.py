"""What tests of the API may ask for."""

from __future__ import annotations

import pytest
from tests.api.site import Site, furnished

from tidegate.control.services.node import Node


@pytest.fixture
def site(node: Node) -> Site:
    """A node asked as an administrator, and something of everything that a path can name."""
    return furnished(node)
