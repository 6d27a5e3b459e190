"""RFC 9457 problem details, as both sides read and write them (SPEC section 13)."""

from __future__ import annotations

from msgspec import Struct

PROBLEM_JSON = "application/problem+json"


class ProblemField(Struct, frozen=True, omit_defaults=True):
    pointer: str
    detail: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """`type` is a URI reference such as ``/problems/device-decommissioned``; compare its last part (`kind`)."""

    type: str
    title: str
    status: int
    detail: str = ""
    permission: str = ""
    errors: tuple[ProblemField, ...] = ()
    retry_after_seconds: int = 0
    stop_workloads: bool = False

    @property
    def kind(self) -> str:
        return self.type.rsplit("/", 1)[-1]


# The kinds that the agent acts on; every other refusal is a reason to wait and try again.
DEVICE_DECOMMISSIONED = "device-decommissioned"
CERTIFICATE_REPLACED = "certificate-replaced"
CERTIFICATE_EXPIRED = "certificate-expired"
CERTIFICATE_UNKNOWN = "certificate-unknown"
