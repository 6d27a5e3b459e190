"""When somebody who failed to show who they are may try again (docs/design/people.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed of late under one key."""

    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """At most `failures` within `seconds` of the first one; then the key waits until those are over."""

    name: str
    failures: int
    seconds: int

    def wait(self, seen: Failures | None, under_way: int, now: datetime) -> float:
        """Seconds until the next attempt. One that is under way has not failed: many may share an address."""
        if seen is None or seen.count < self.failures:
            return 0.0
        return (seen.first_at - now).total_seconds() + self.seconds

    def forgotten_at(self, first_at: datetime, now: datetime) -> datetime:
        """When a failure of `now` counts no more, if the first one was at `first_at`."""
        return first_at + timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Backoff:
    """`free` failures cost nothing, then each next attempt waits twice as long, up to `longest` seconds.

    One that is under way counts as failed: a hundred at once are not all free. After `quiet` seconds without a failure
    the key begins anew.
    """

    name: str
    free: int = 5
    first: int = 2
    longest: int = 900
    quiet: int = 3_600

    def wait(self, seen: Failures | None, under_way: int, now: datetime) -> float:
        """Seconds until the next attempt."""
        over = (seen.count if seen is not None else 0) + under_way - self.free
        if over < 0:
            return 0.0
        last = now if under_way or seen is None else seen.last_at
        return (last - now).total_seconds() + min(self.longest, self.first << min(over, 32))

    def forgotten_at(self, first_at: datetime, now: datetime) -> datetime:
        """When a failure of `now` counts no more."""
        return now + timedelta(seconds=self.quiet)


Rule = Window | Backoff

#: Of one source (a known browser, else an address) under one name.
SIGN_IN_BY_SOURCE = Backoff("sign-in-by-source")
#: From one address whatever the name. A browser that the operator is known by is not counted here.
SIGN_IN_BY_ADDRESS = Window("sign-in-by-address", 20, 300)
#: Under one name, from all sources that the operator is not known by: guessing from many addresses is slow, and whoever
#: does it shuts nobody out of a browser they have signed in with before.
SIGN_IN_BY_NAME = Window("sign-in-by-name", 100, 3_600)
#: The present password, asked for again of who is signed in.
OWN_PASSWORD = Backoff("own-password")
#: Codes of one operator, whose password whoever tries has shown: a million guesses take longer than a life.
SECOND_FACTOR = Backoff("second-factor")
