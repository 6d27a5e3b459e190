"""Counting per key (an address, an attempt) in bounded memory."""

from __future__ import annotations

import ipaddress
import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tidegate.errors import TooMany

_MAX_KEYS = 10_000
#: Lines of history a day that one device causes; one that was wiped of all it may run causes two for each of 256 names.
TOLD_MOST = 1_000
#: Registrations in ten minutes that tell something new; an agent registers when it connects.
REGISTERED_MOST = 6


class FailureLimit:
    """At most `failures` per key within `window_seconds`; what succeeds costs nothing. Thread-safe.

    Keeps at most `max_keys` keys: beyond that the ones that failed longest ago are forgotten, so that a flood from many
    addresses costs no memory.
    """

    def __init__(self, failures: int, window_seconds: int, *, max_keys: int = _MAX_KEYS) -> None:
        self._failures = failures
        self._window = window_seconds
        self._max_keys = max_keys
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, key: str, now: float, why: str = "too many failures") -> None:
        """Raises `TooMany` while the key's failures are used up. `now` is monotonic seconds."""
        left = self._left(key, now)
        if left > 0:
            seconds = int(left) + 1
            raise TooMany(f"cannot try again for {seconds} seconds: {why}", retry_after_seconds=seconds)

    def full(self, key: str, now: float) -> bool:
        """Whether the key's failures are used up."""
        return self._left(key, now) > 0

    def _left(self, key: str, now: float) -> float:
        with self._lock:
            count, since = self._seen.get(key, (0, now))
        return since + self._window - now if count >= self._failures else 0.0

    def failed(self, key: str, now: float) -> None:
        with self._lock:
            count, since = self._seen.pop(key, (0, now))
            if now >= since + self._window:
                count, since = 0, now
            self._seen[key] = (count + 1, since)
            while len(self._seen) > self._max_keys:
                self._seen.popitem(last=False)


class UnderWay:
    """How many attempts go on at this moment, by key. Thread-safe; holds nothing of those that have ended."""

    def __init__(self) -> None:
        self._going: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one_more(self, keys: Sequence[tuple[str, str]]) -> Iterator[list[int]]:
        """One more under each of these keys; gives how many there were before."""
        with self._lock:
            before = [self._going[key] for key in keys]
            self._going.update(keys)
        try:
            yield before
        finally:
            with self._lock:
                self._going.subtract(keys)
                for key in keys:
                    if not self._going[key]:
                        del self._going[key]


def address_key(address: str) -> str:
    """Who an address stands for: one IPv4 address, or the /64 that an IPv6 subscriber has all of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


class Limits:
    """The limits of one process; what failed to sign in is counted for all of them: services/attempts.py."""

    def __init__(self) -> None:
        #: Attempts to sign in.
        self.under_way = UnderWay()
        #: Numbers the failed ones.
        self.failures = itertools.count(1)
        #: Who is sent to the provider; each costs it and this node a little, whoever asks.
        self.sign_on_by_address = FailureLimit(60, 60)
        #: Failed sign-ins that are written to the audit log, of all addresses together: it is never pruned, and a
        #: flood from many of them must not fill the disk. Every one is logged.
        self.sign_in_refusals = FailureLimit(300, 600)
        self.enroll_by_address = FailureLimit(20, 300)
        self.told_by_device = FailureLimit(TOLD_MOST, 86_400)
        self.registered_by_device = FailureLimit(REGISTERED_MOST, 600)
