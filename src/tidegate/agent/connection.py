"""Which certificate the agent shows, and the link made with it: pending first, current when that is not accepted."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from tidegate.agent.identity import PENDING, Certificate, Enrollment, Identity, check_bundle
from tidegate.agent.link import Link
from tidegate.errors import Invalid


class Connection:
    """For one thread; `link` may be used from several. `fresh`: the device has yet to register on this link."""

    def __init__(self, identity: Identity, timeout_seconds: float) -> None:
        self._identity = identity
        self._timeout_seconds = timeout_seconds
        self._avoid_pending = False
        self._trial_bundle = ""
        self.enrollment, self.certificate, self.link = self._open()
        self.fresh = True

    @property
    def on_pending(self) -> bool:
        return self.certificate.file.name == PENDING

    def has_current(self) -> bool:
        return self._identity.current() is not None

    def has_pending(self) -> bool:
        """A pending certificate that can be shown; a damaged one cannot."""
        try:
            return self._identity.pending() is not None
        except Invalid:
            return False

    def reopen(self) -> None:
        """Begin anew with what the identity folder holds now.

        Raises:
            Invalid: it holds no identity; the open link stands.
        """
        enrollment, certificate, link = self._open()
        self.link.close()
        self.enrollment, self.certificate, self.link, self.fresh = enrollment, certificate, link, True

    def renewed(self) -> None:
        """There is a new pending certificate: try it."""
        self._avoid_pending = False
        self.reopen()

    def accepted(self) -> bool:
        """The node answered: a pending certificate becomes the current one, a bundle on trial the known one.

        Gives back whether a certificate did.
        """
        self.fresh = False
        if self._trial_bundle:
            self._identity.store_ca_bundle(self._trial_bundle)
            self.enrollment = replace(self.enrollment, ca_bundle_pem=self._trial_bundle)
            self._trial_bundle = ""
        if self.on_pending:
            self._identity.promote()
            promoted = self._identity.current()
            assert promoted is not None
            self.certificate = promoted
            return True
        if self._avoid_pending:
            # The node takes the old one: it does not know the one that it did not answer.
            self._identity.discard_pending()
            self._avoid_pending = False
        return False

    def recognised(self) -> None:
        """The node knows the certificate, though it does not let it do everything (it has expired)."""
        if self.on_pending:
            self._identity.promote()
            self.reopen()

    def use_current(self, *, forget: bool) -> None:
        """The pending certificate was not accepted; `forget`: the node itself said that it does not know it."""
        if forget:
            self._identity.discard_pending()
        else:
            self._avoid_pending = True
        self.reopen()

    def retry_pending(self) -> None:
        """The current one was not accepted either: next time it is the pending one's turn again."""
        if self._avoid_pending:
            self._avoid_pending = False
            self.reopen()

    def take_bundle(self, digest: str, ca_bundle_pem: str) -> None:
        """Try the node's CA bundle, which came over TLS verified against the known one.

        It is kept once the node was reached with it: a bundle that does not hold the CA in use would lock this device
        out for good.

        Raises:
            Invalid: it is not what its digest says, or not a list of certificates.
        """
        known = hashlib.sha256(self.enrollment.ca_bundle_pem.encode()).hexdigest()
        if digest == known or not ca_bundle_pem or ca_bundle_pem == self._trial_bundle:
            return
        if hashlib.sha256(ca_bundle_pem.encode()).hexdigest() != digest:
            raise Invalid("cannot take the node's CA bundle: it is not what its digest says")
        check_bundle(ca_bundle_pem)
        self._trial_bundle = ca_bundle_pem
        self.reopen()

    def refuse_bundle(self) -> bool:
        """The node cannot be verified; whether that was against a bundle on trial, which is given up then."""
        if not self._trial_bundle:
            return False
        self._trial_bundle = ""
        self.reopen()
        return True

    def _open(self) -> tuple[Enrollment, Certificate, Link]:
        enrollment = self._identity.enrollment()
        certificate = self._identity.current() if self._avoid_pending else self._identity.to_use()
        if enrollment is None or certificate is None:
            raise Invalid("cannot run: this device is not enrolled; run tidegate-agent enroll")
        link = Link(
            enrollment.channel_url,
            self._trial_bundle or enrollment.ca_bundle_pem,
            certificate.file,
            timeout_seconds=self._timeout_seconds,
        )
        return enrollment, certificate, link
