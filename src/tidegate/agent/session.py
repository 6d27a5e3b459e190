"""What the daemon makes of the node's answers: pure rules over what came of one heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.agent.link import CertificateRefused, ChannelProblem, Ended
from tidegate.errors import TidegateError, TooMany, Unavailable
from tidegate.wire.problem import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REPLACED,
    CERTIFICATE_UNKNOWN,
    DEVICE_DECOMMISSIONED,
)

#: Shorter than this between two heartbeats only when something changed on this side.
SPACING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing is wrong: ask again now."""


@dataclass(frozen=True, slots=True)
class Later:
    """Ask again after a back-off of at least `at_least_seconds`."""

    at_least_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class UseCurrent:
    """Go back to the current certificate; `forget` the pending one when the node has said that it does not know it."""

    forget: bool


@dataclass(frozen=True, slots=True)
class UsePending:
    """The node has retired the current certificate: it saw the pending one, though its answer was lost."""


@dataclass(frozen=True, slots=True)
class RenewFirst:
    """The certificate has expired: nothing but renewal is answered."""


@dataclass(frozen=True, slots=True)
class Over:
    """This identity is over for good; `wipe` its keys."""

    kind: str
    detail: str
    wipe: bool
    stop_workloads: bool = False


Course = Again | Later | UseCurrent | UsePending | RenewFirst | Over


def course(error: TidegateError, *, on_pending: bool, has_current: bool, has_pending: bool = False) -> Course:
    """What to do about a failed heartbeat, made with the pending or with the current certificate.

    `has_pending`: there is a pending certificate, though the current one was shown.

    Only a problem that the node itself sent, over verified TLS, ends an identity: a connection that just ended is what
    anybody on the way can do.
    """
    if isinstance(error, Ended):
        return Again()
    if isinstance(error, CertificateRefused):
        return UseCurrent(forget=False) if on_pending and has_current else Later()
    if isinstance(error, ChannelProblem):
        if error.type == DEVICE_DECOMMISSIONED and error.status == 403:
            return Over(error.type, error.detail, wipe=True, stop_workloads=error.stop_workloads)
        if error.type in (CERTIFICATE_REPLACED, CERTIFICATE_UNKNOWN) and on_pending and has_current:
            return UseCurrent(forget=True)
        if error.type == CERTIFICATE_REPLACED and not on_pending and has_pending:
            return UsePending()
        if error.type == CERTIFICATE_REPLACED:
            return Over(error.type, error.detail, wipe=False)
        if error.type == CERTIFICATE_EXPIRED:
            return RenewFirst()
        return Later(error.retry_after_seconds)
    if isinstance(error, (Unavailable, TooMany)):
        return Later(error.retry_after_seconds)
    return Later()


class Pace:
    """How often the node is asked, whatever it answers; all times are of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._news_at = now

    def wait(self, now: float, *, held_seconds: float, asked_seconds: float, news: bool) -> float:
        """Seconds until the next heartbeat after a good answer.

        A node that holds answers sets the pace itself. One that answers "unchanged" at once would be asked in a tight
        loop, and so would one that has news all the time.
        """
        if not news:
            return max(0.0, asked_seconds - held_seconds)
        since, self._news_at = now - self._news_at, now
        return max(0.0, SPACING_SECONDS - since)
