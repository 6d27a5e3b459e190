"""Counting failures per key (an address, a source and a name) in bounded memory."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

from tidegate.errors import TooMany

_MAX_KEYS = 10_000


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

    def check(self, key: str, now: float) -> None:
        """Raises `TooMany` while the key's failures are used up. `now` is monotonic seconds."""
        left = self._left(key, now)
        if left > 0:
            raise TooMany(
                f"cannot try again for {int(left) + 1} seconds: too many failures", retry_after_seconds=int(left) + 1
            )

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

    def forget(self, key: str) -> None:
        with self._lock:
            self._seen.pop(key, None)


class Backoff:
    """Lets `free` attempts per key fail, then makes each next one wait twice as long, up to `longest` seconds.

    An attempt counts as failed from its beginning until `succeeded` or `undone` says otherwise: many at once are not
    all free. A key that was quiet for `forget` seconds begins anew. Thread-safe, bounded as `FailureLimit` is.
    """

    def __init__(
        self, free: int, *, first: int = 2, longest: int = 900, forget: int = 3_600, max_keys: int = _MAX_KEYS
    ) -> None:
        self._free = free
        self._first = first
        self._longest = longest
        self._forget = forget
        self._max_keys = max_keys
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, key: str, now: float) -> None:
        """Count one more attempt. Raises `TooMany` when its time has not come. `now` is monotonic seconds."""
        with self._lock:
            count, last = self._seen.get(key, (0, now))
            if now >= last + self._forget:
                count = 0
            left = last + self._wait(count) - now
            if left > 0:
                seconds = int(left) + 1
                raise TooMany(f"cannot try again for {seconds} seconds: too many failures", retry_after_seconds=seconds)
            self._seen[key] = (count + 1, now)
            self._seen.move_to_end(key)
            while len(self._seen) > self._max_keys:
                self._seen.popitem(last=False)

    def _wait(self, failures: int) -> float:
        if failures < self._free:
            return 0.0
        return float(min(self._longest, self._first << min(failures - self._free, 32)))

    def succeeded(self, key: str) -> None:
        with self._lock:
            self._seen.pop(key, None)

    def undone(self, key: str) -> None:
        """The attempt was not looked at: it does not count."""
        with self._lock:
            count, last = self._seen.get(key, (0, 0.0))
            if count > 1:
                self._seen[key] = (count - 1, last)
            else:
                self._seen.pop(key, None)


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
    """The limits of one process."""

    def __init__(self) -> None:
        #: From one address whatever the name. A browser that the operator is known by is not counted here.
        self.sign_in_by_address = FailureLimit(20, 300)
        #: Of one source (a known browser, else an address) under one name.
        self.sign_in_by_source = Backoff(5)
        #: Under one name, from all sources that the operator is not known by: guessing from many addresses is slow, and
        #: whoever does it shuts nobody out of a browser they have signed in with before.
        self.sign_in_by_name = FailureLimit(100, 3_600)
        self.change_password = Backoff(5)
        #: Codes of one operator, whose password whoever tries has shown: a million guesses take longer than a life.
        self.second_factor = Backoff(5)
        #: Failed sign-ins that are written to the audit log, of all addresses together: it is never pruned, and a
        #: flood from many of them must not fill the disk. Every one is logged.
        self.sign_in_refusals = FailureLimit(300, 600)
        self.enroll_by_address = FailureLimit(20, 300)
