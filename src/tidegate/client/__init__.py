"""The Python client of a Tidegate node.

    >>> from tidegate.client import Client
    >>> node = Client("https://node:8443", ca="server-ca.pem", key="api.key")
    >>> node.rollouts.halt(12, reason="fan noise").state
    'halted'

Answers are the structs of `tidegate.wire.operator`; what the node refuses is raised as one of the errors below.
"""

from tidegate import errors
from tidegate.client.answers import Download, Listing
from tidegate.client.client import Client
from tidegate.errors import *  # noqa: F403 - every kind of error is part of the client

__all__ = ["Client", "Download", "Listing"]
__all__ += errors.__all__
