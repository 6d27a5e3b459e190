"""What the holder of the publisher key works from, on a machine that is not the node.

The same verification as on a device, with a folder of its own that remembers what was seen: a node that was taken over
cannot show an older catalog and have it signed again with newer versions missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.trust.tuf import roles
from tidegate.trust.tuf.client import Client
from tidegate.trust.tuf.roles import PUBLISHER, Row


class PublisherView(Client):
    """A device's client that also shows the documents themselves."""

    def rows(self, paths: Iterable[str] | None = None) -> dict[str, Row]:
        """The verified documents of the publisher and of the bins that hold `paths`; of all bins when it is None.

        Raises:
            Untrusted, Unavailable: as `refresh`.
        """
        self.refresh()
        trusted = self._trusted
        assert trusted is not None
        publisher = self._delegate(trusted, trusted.targets, PUBLISHER)
        cut = roles.succinct(publisher)
        names = set(cut.get_roles()) if paths is None else {cut.get_role_for_target(path) for path in paths}
        versions = {PUBLISHER: publisher, **{name: self._delegate(trusted, publisher, name) for name in sorted(names)}}
        found: dict[str, Row] = {}
        for name, signed in versions.items():
            data = self._local.read_role(name)
            assert data is not None
            found[name] = Row(name, signed.version, data, signed.expires)
        return found
