"""What tests do to a serving node from outside, and windows of a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tidegate.control.domain.access import Scope
from tidegate.control.services import artifacts, rollouts, uploads
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.testing.fleet import SimDevice, enroll
from tidegate.testing.screenshots import PRESSABLE
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.device import ExecProbe
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

PASSWORD = "correct horse battery staple"
Cookies = list[dict[str, Any]]
#: What must stay text wherever it is shown.
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass
class Site:
    """A serving node and what tests do to it from outside."""

    node: Node
    url: str
    scope: Scope
    fleet: dict[str, SimDevice] = field(default_factory=dict)

    def publish(self, name: str, version: str, content: bytes = b"weights") -> None:
        upload = uploads.upload_stream(self.scope, self.node, "model.onnx", len(content), [content])
        manifest = ModelManifest(framework="onnx", description=HOSTILE)
        files = (NewFile(name="model.onnx", upload=upload.id),)
        request = PublishArtifact(name=name, version=version, files=files, manifest=manifest)
        artifacts.publish(self.scope, self.node, request)

    def devices(self, prefix: str, count: int, group: str | None = None) -> list[SimDevice]:
        made = enroll(self.node, self.scope, [f"{prefix}-{i:02d}" for i in range(count)], group)
        self.fleet |= {one.ref.name: one for one in made}
        for one in made:
            one.seen()
        return made

    def roll_out(self, name: str, version: str, target: Target, waves: list[dict[str, object]]) -> RolloutDetail:
        request = NewRollout(
            artifact=name,
            version=version,
            target=target,
            strategy={"waves": waves, "max_failure_rate": "0.1"},
            probes=(ExecProbe(name="self-test"),),
        )
        return rollouts.create_rollout(self.scope, self.node, request)

    def run(self, devices: list[SimDevice], rounds: int = 3) -> None:
        for _ in range(rounds):
            plan_all(self.node)
            for device in devices:
                device.tick()
        plan_all(self.node)


@dataclass
class Window:
    """One browser context whose every complaint is collected: a violation of the policy fails the test."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    cookies: Cookies = field(default_factory=list)

    def enter(self) -> Page:
        """Go on with the session that all tests share; only those about signing in sign in."""
        self.context.add_cookies(self.cookies)  # type: ignore[arg-type]
        return self.page

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, name: str = "admin", password: str = PASSWORD) -> Page:
        self.go("/signin")
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        return self.page


Opens = Callable[..., Window]


def press(page: Page, name: str, inside: str = "main") -> None:
    """Click a button, as soon as the page shows that it takes a press."""
    page.locator(inside).get_by_role("button", name=name, exact=True).and_(page.locator(PRESSABLE)).click()


def unfold(page: Page, name: str) -> None:
    """Open the sheet of that name, as soon as the page shows that its button takes a press."""
    page.locator("main summary.btn", has_text=name).and_(page.locator(PRESSABLE)).click()


def settled(page: Page) -> None:
    """Wait until every button of the page takes a press: for keys, which go where the focus is."""
    expect(page.locator("[data-settling]")).to_have_count(0)


def note(window: Window, kind: str, text: str) -> None:
    # Refusals are part of several tests; the browser reports their status by itself.
    expected = text.startswith("Failed to load resource: the server responded with a status of 4")
    if kind == "error" and not expected:
        window.complaints.append(f"{kind}: {text}")
