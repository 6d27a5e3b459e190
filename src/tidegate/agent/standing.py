"""How the agent stands, put into the words that status and heartbeat carry."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tidegate import __version__
from tidegate.agent import inhibitor
from tidegate.agent.identity import Certificate, Enrollment, Final, Identity
from tidegate.agent.settings import Loaded, Settings
from tidegate.agent.status import Status
from tidegate.agent.view import View
from tidegate.errors import TidegateError

WAITING_ON_MAX = 1024

_FINAL_WORDS = {
    "device-decommissioned": "this device was decommissioned; its key and certificate are gone",
    "certificate-replaced": "another certificate has taken this device's name; enroll it again if it is the right one",
}


class Standing:
    """Set by the daemon's main thread, read by the status thread: each field is replaced whole."""

    def __init__(self, view: View, loaded: Loaded, enrollment: Enrollment, certificate: Certificate) -> None:
        self.view = view
        self.loaded = loaded
        self.enrollment = enrollment
        self.certificate = certificate
        self.connection = "not connected yet"
        self.last_contact: datetime | None = None
        self.waiting_on = ""
        self.notice = ""
        self.renewal_trouble = ""
        self.disk_trouble = ""

    def problems(self) -> tuple[str, ...]:
        told = (self.loaded.problem, self.view.damaged(), self.disk_trouble, self.renewal_trouble, self.notice)
        found = (*told, *self.view.held_up())
        return tuple(problem for problem in found if problem)

    def waits(self) -> str:
        """For the heartbeat: why nothing goes on, and what is wrong here."""
        return "; ".join(dict.fromkeys(part for part in (self.waiting_on, *self.problems()) if part))[:WAITING_ON_MAX]

    def status(self) -> Status:
        return Status(
            agent_version=__version__,
            running=True,
            connection=self.connection,
            device=self.enrollment.device,
            fleet=self.enrollment.fleet,
            node=self.enrollment.channel_url,
            last_contact=self.last_contact,
            certificate_ends=self.certificate.not_after,
            certificate_renews=self.certificate.renew_at(),
            waiting_on=self.waiting_on,
            problems=self.problems(),
            installed=self.view.installed(),
            in_progress=self.view.in_progress(),
            reports_waiting=_waiting(self.view),
        )


def at_rest(loaded: Loaded) -> Status:
    """The same, from the state folder, while no daemon runs."""
    settings: Settings = loaded.settings
    state_dir = Path(settings.state_dir)
    view = View(state_dir)
    problems = [loaded.problem, view.damaged(), *view.held_up()]
    enrollment: Enrollment | None = None
    certificate: Certificate | None = None
    final: Final | None = None
    try:
        identity = Identity(state_dir / "identity")
        enrollment, certificate, final = identity.enrollment(), identity.to_use(), identity.final()
    except TidegateError as error:
        problems.append(error.detail)
    connection = "the agent does not run"
    if final is not None and final.stop_workloads and view.installed():
        left = ", ".join(one.artifact for one in view.installed())
        problems.append(f"told to stop its workloads, and still in force: {left}; the next start of the agent goes on")
    if final is not None:
        connection = f"the agent has stopped for good: {_FINAL_WORDS.get(final.kind, final.kind)} ({final.detail})"
    return Status(
        agent_version=__version__,
        running=False,
        connection=connection,
        device=enrollment.device if enrollment else "",
        fleet=enrollment.fleet if enrollment else "",
        node=enrollment.channel_url if enrollment else "",
        certificate_ends=certificate.not_after if certificate else None,
        certificate_renews=certificate.renew_at() if certificate else None,
        waiting_on="a new enrollment: tidegate-agent enroll" if final else inhibitor.reason(settings.inhibit_path),
        problems=tuple(problem for problem in problems if problem),
        installed=view.installed(),
        in_progress=view.in_progress(),
        reports_waiting=_waiting(view),
    )


def _waiting(view: View) -> int:
    pending = view.outbox.pending()
    return 0 if pending is None else len(pending.items)
