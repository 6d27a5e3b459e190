"""Renewing the device certificate in a process of its own: the idle agent never loads a certificate library."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tidegate.agent.backoff import Backoff
from tidegate.agent.identity import Certificate, Identity
from tidegate.agent.link import Link
from tidegate.agent.settings import Settings
from tidegate.agent.words import plain
from tidegate.agent.work import Rests, Said, Voice
from tidegate.agent.worker import NEVER, Child
from tidegate.clock import Clock
from tidegate.errors import Invalid, TidegateError
from tidegate.wire.device import Renew

log = logging.getLogger(__name__)

#: Between two renewals that both went well.
SPACING_SECONDS = 1800.0


class Renewal:
    """Starts the renewing process when it is time, and again later when it failed. For one thread."""

    def __init__(self, start: Callable[[], Child], clock: Clock, backoff: Backoff) -> None:
        self._start = start
        self._clock = clock
        self._backoff = backoff
        self._child: Child | None = None
        self._not_before = 0.0
        self._why = ""
        self.trouble = ""

    def tick(self, certificate: Certificate, *, now_please: bool = False) -> None:
        """Begin when two thirds of the certificate's life are over, or the node asks for it."""
        due = now_please or self._clock.now() >= certificate.renew_at()
        if due and self._child is None and self._clock.monotonic() >= self._not_before:
            self._not_before = self._clock.monotonic() + self._backoff.next()
            self._why = ""
            try:
                self._child = self._start()
            except OSError as error:
                self.trouble = f"cannot start renewing the certificate: {error.strerror}"

    def due_in(self, certificate: Certificate) -> float:
        """Seconds until `tick` is worth calling."""
        if self._child is not None:
            return NEVER
        left = (certificate.renew_at() - self._clock.now()) / timedelta(seconds=1)
        return max(0.0, left, self._not_before - self._clock.monotonic())

    def ended(self, child: Child, status: int) -> bool:
        """Whether there is a new certificate to take into use."""
        if child is not self._child:
            return False
        self._child = None
        if status != os.EX_OK:
            self.trouble = f"cannot renew the certificate; it is tried again{self._why and ': ' + self._why}"
            return False
        self.trouble = ""
        # A clock far ahead, or a node that always asks for it, must not have a certificate made every minute.
        self._not_before = max(self._not_before, self._clock.monotonic() + SPACING_SECONDS)
        return True

    def said(self, child: Child, said: Said) -> None:
        """Why renewing did not go well, in the words of the process that tried."""
        if child is self._child and isinstance(said, Rests):
            self._why = said.waiting_on

    def settled(self) -> None:
        """The node has accepted the new certificate."""
        self._backoff.reset()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()


def renew(settings: Settings) -> int:
    """Ask for a certificate for a new key and store both as pending; the whole life of the renewing process.

    Whatever is lost on the way, the next try asks for the same key again, with a certificate that still stands.
    """
    try:
        return _renew(settings)
    except (TidegateError, OSError) as error:
        Voice(sys.stdout.buffer).say(Rests(plain(str(error)), None, 0))
        raise


def _renew(settings: Settings) -> int:
    identity = Identity(Path(settings.state_dir) / "identity")
    enrollment, certificate = identity.enrollment(), identity.to_use()
    if enrollment is None or certificate is None:
        raise Invalid("cannot renew: this device is not enrolled")
    link = Link(
        enrollment.channel_url,
        enrollment.ca_bundle_pem,
        certificate.file,
        timeout_seconds=settings.request_timeout_seconds,
    )
    try:
        answer = link.renew(Renew(identity.begin()))
    finally:
        link.close()
    accepted = identity.accept(answer.certificate_chain_pem)
    if answer.ca_bundle_pem and answer.ca_bundle_pem != enrollment.ca_bundle_pem:
        identity.store_ca_bundle(answer.ca_bundle_pem)
    log.info("renewed: the new certificate ends %s", accepted.not_after.isoformat())
    return os.EX_OK
