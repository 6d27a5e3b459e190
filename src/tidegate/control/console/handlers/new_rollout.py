"""Create rollout: a form, and beside it what creating would do; nothing is created before its last button."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tidegate.control.console import waves, words
from tidegate.control.console.strategy_form import StrategyFields, WaveRow, fields_of
from tidegate.control.console.views import caret
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, typed
from tidegate.control.domain.rollouts.strategy import MAX_WAVES
from tidegate.control.services import artifacts, channels, groups, rollouts
from tidegate.control.services.rollouts import NewRollout, Preview, Target
from tidegate.control.services.rollouts.resolve import MAX_PROBES
from tidegate.errors import FieldError, Invalid, Refused, TidegateError
from tidegate.wire.device import Probe
from tidegate.wire.operator.artifacts import ListArtifacts

MOST = 200
#: Before an option that names a channel instead of a version; no artifact's name has a colon.
CHANNEL = "channel:"
APPROVALS = (("auto", "auto"), ("manual", "manual"))
PROBES = (("", "none"), ("exec", "exec"), ("http", "http"), ("file", "file"))
TARGETS = (
    ("everyone", "the whole fleet"),
    ("group", "a group"),
    ("selector", "a selector"),
    ("devices", "named devices"),
)
_STRATEGY = tuple(StrategyFields.__dataclass_fields__)
_PROBE_FIELDS = ("attempts", "timeout", "initial_delay", "interval")
#: No exponents: a short one writes a number of a gigabyte.
_SHARE = re.compile(r"\d{1,3}(?:\.\d{1,10})?")
_NAMES = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One probe as typed; without a kind it is none."""

    kind: str = ""
    what: str = ""
    timeout: str = "30 s"
    attempts: str = "3"
    initial_delay: str = "none"
    interval: str = "5 s"


@dataclass(frozen=True, slots=True)
class Typed(StrategyFields):
    """The form as a person left it."""

    artifact: str = ""
    target: str = "everyone"
    group: str = ""
    selector: str = ""
    devices: str = ""
    skip_incompatible: bool = False
    baseline: bool = False
    start_at: str = ""
    probes: tuple[ProbeRow, ...] = (ProbeRow(),)

    def strategy_fields(self) -> StrategyFields:
        return StrategyFields(**{name: getattr(self, name) for name in _STRATEGY})


def read(visit: Visit) -> Typed:
    """The form; a wave whose end was emptied, and a probe whose kind was, are left out."""
    rows = zip(visit.texts("to"), visit.texts("approval"), visit.texts("soak"), strict=False)
    kept = tuple(WaveRow(to, approval, soak) for to, approval, soak in rows if to)[:MAX_WAVES]
    plain: dict[str, Any] = {
        name: visit.text(name)
        for name in Typed.__dataclass_fields__
        if name not in ("waves", "probes", "skip_incompatible", "baseline")
    }
    parts = (visit.texts(f"probe_{name}") for name in ProbeRow.__dataclass_fields__)
    probes = tuple(probe for probe in (ProbeRow(*row) for row in zip(*parts, strict=False)) if probe.kind)
    return Typed(
        **plain,
        waves=kept,
        probes=probes[:MAX_PROBES] or (ProbeRow(),),
        skip_incompatible=visit.ticked("skip_incompatible"),
        baseline=visit.ticked("baseline"),
    )


class _Reader:
    """Turns what was typed into a request, collecting every mistake with the field's name."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def wrong(self, name: str, rule: str) -> None:
        self.errors.append(FieldError(f"/{name}", rule))

    def seconds(self, text: str, name: str) -> int:
        found = words.seconds_of(text)
        if found is None:
            self.wrong(name, 'must be a duration such as "90 s", "30 min" or "2 h"')
            return 0
        return found

    def share(self, text: str, name: str) -> str:
        """``2 %`` as ``0.02``; a number without a sign is a share already."""
        plain = text.removesuffix("%").strip() or "0"
        if _SHARE.fullmatch(plain) is None:
            self.wrong(name, "must be a percentage such as 2 %")
            return "0"
        number = Decimal(plain)
        return f"{(number / 100 if text.endswith('%') else number).normalize():f}"

    def wave(self, row: WaveRow, index: int) -> dict[str, object]:
        size: dict[str, object]
        if row.to.startswith("group "):
            size = {"group": row.to.removeprefix("group ").strip()}
        elif row.to.endswith("%"):
            size = {"percent": row.to.removesuffix("%").strip()}
        elif row.to.isascii() and row.to.isdigit() and len(row.to) < 9:
            size = {"count": int(row.to)}
        else:
            self.wrong(f"strategy/waves/{index}", 'must be such as "10 %", "25" (devices) or "group lab"')
            size = {"percent": "100"}
        soak = self.seconds(row.soak, f"strategy/waves/{index}/soak_seconds")
        return {**size, "approval": row.approval, "soak_seconds": soak}

    def start(self, text: str) -> datetime | None:
        if not text:
            return None
        try:
            at = datetime.fromisoformat(text)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            self.wrong("start_at", "must be a date and time in UTC such as 2026-11-24 22:00")
            return None

    def probe(self, row: ProbeRow, index: int) -> Probe | None:
        at = f"probes/{index}"
        raw: dict[str, Any] = {"kind": row.kind, "attempts": row.attempts}
        for name in ("timeout", "initial_delay", "interval"):
            raw[f"{name}_seconds"] = self.seconds(getattr(row, name), f"{at}/{name}")
        if row.kind == "http":
            port, slash, path = row.what.removeprefix("http://").partition("/")
            raw |= {"port": port.rpartition(":")[2], "path": slash + path or "/"}
        else:
            raw["name" if row.kind == "exec" else "path"] = row.what
        try:
            return typed(raw, Probe)  # type: ignore[arg-type]
        except Invalid as error:
            for one in error.errors:
                name = one.pointer.removeprefix("/").removesuffix("_seconds")
                self.wrong(f"{at}/{name if name in _PROBE_FIELDS else 'what'}", one.detail)
            return None


def request_of(form: Typed) -> NewRollout:
    """The request that the form stands for.

    Raises:
        Invalid: naming every field that cannot be read.
    """
    reader = _Reader()
    from_channel = form.artifact.startswith(CHANNEL)
    artifact, _, version = form.artifact.removeprefix(CHANNEL).partition("/")
    if not version:
        reader.wrong("artifact", "must be chosen")
    strategy: dict[str, object] = {
        "waves": [reader.wave(row, index) for index, row in enumerate(form.waves)] or [{"percent": 100}],
        "max_failure_rate": reader.share(form.max_failure_rate, "max_failure_rate"),
    }
    for name in ("deadline", "apply_deadline", "offline_after"):
        strategy[name] = reader.seconds(getattr(form, name), name)
    limit = form.max_in_flight.replace(" ", "")
    if limit:
        strategy["max_in_flight"] = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 9 else limit
    names = tuple(name for name in _NAMES.split(form.devices) if name)
    target = Target(
        group=form.group if form.target == "group" else None,
        selector=form.selector if form.target == "selector" else None,
        devices=names if form.target == "devices" else None,
        everyone=form.target == "everyone",
    )
    probes = [reader.probe(row, index) for index, row in enumerate(form.probes) if row.kind]
    request = NewRollout(
        artifact=artifact,
        version="" if from_channel else version,
        channel=version if from_channel else None,
        target=target,
        strategy=strategy,
        probes=tuple(probe for probe in probes if probe is not None),
        skip_incompatible=form.skip_incompatible,
        baseline=form.baseline,
        start_at=reader.start(form.start_at),
    )
    if reader.errors:
        raise Invalid("cannot create this rollout", tuple(reader.errors))
    return request


_FIELD_OF = re.compile(r"/(?:strategy/(?P<setting>[a-z_]+)|target/(?P<target>devices|group|selector)(?:/\d+)?)")


def at_fields(error: TidegateError) -> TidegateError:
    """The same refusal, each mistake at the field of the form that it was made in."""
    if not isinstance(error, Invalid):
        return error
    told = []
    for one in error.errors:
        match = _FIELD_OF.fullmatch(one.pointer)
        name = (match["setting"] or match["target"]) if match else ""
        told.append(FieldError(f"/{name}", one.detail) if name in Typed.__dataclass_fields__ else one)
    return Invalid(error.detail, tuple(told))


def begin(visit: Visit) -> Outcome:
    """The form with the artifact or group that was asked for, and the fleet's default strategy."""
    group = visit.ask("group")
    asked = f"{CHANNEL}{visit.ask('channel')}" if visit.ask("channel") else visit.ask("artifact")
    form = Typed(artifact=asked, target="group" if group else "everyone", group=group)
    suggested, _ = _suggested(visit)
    return _page(visit, replace(form, **{name: getattr(suggested, name) for name in _STRATEGY}), quiet=True)


def _suggested(visit: Visit) -> tuple[StrategyFields, str]:
    """What the strategy's fields begin with, and where that comes from."""
    default = rollouts.default_strategy(visit.scope, visit.node)
    if default is None:
        return StrategyFields(), f"a suggestion: fleet {visit.scope.fleet} sets no default strategy"
    return fields_of(default), f"the default strategy of fleet {visit.scope.fleet}"


def again(visit: Visit) -> Outcome:
    """The form as typed with a new preview; or with one more wave or probe."""
    form = read(visit)
    if visit.text("do") == "add-probe" and len(form.probes) < MAX_PROBES:
        return _page(visit, replace(form, probes=(*form.probes, ProbeRow())), preview_of=form)
    if visit.text("do") == "add" and len(form.waves) < MAX_WAVES:
        # Before the last one, which goes to 100 %.
        form = replace(form, waves=(*form.waves[:-1], WaveRow(""), *form.waves[-1:]))
        return _page(visit, form, preview_of=replace(form, waves=tuple(row for row in form.waves if row.to)))
    return _page(visit, form)


def create(visit: Visit) -> Outcome:
    form = read(visit)
    try:
        created = rollouts.create_rollout(visit.scope, visit.node, request_of(form))
    except Refused as error:
        return _page(visit, form, problem=at_fields(error))
    return Go(f"/rollouts/{created.id}", "created")


def _page(
    visit: Visit,
    form: Typed,
    *,
    problem: TidegateError | None = None,
    preview_of: Typed | None = None,
    quiet: bool = False,
) -> Show:
    available = artifacts.listed(visit.scope, visit.node, ListArtifacts(state="available", limit=MOST)).items
    options = [(f"{one.name}/{one.version}", f"{one.name} {one.version}, {one.kind}") for one in available]
    labels = channels.listed(visit.scope, visit.node, limit=MOST).items
    options += [
        (f"{CHANNEL}{one.artifact}/{one.name}", f"{one.artifact}, channel {one.name}: {one.version} now")
        for one in labels
        if not one.withdrawn
    ]
    if not form.artifact and options:
        form = replace(form, artifact=options[0][0])
        preview_of = None if preview_of is None else replace(preview_of, artifact=form.artifact)
    preview: Preview | None = None
    if problem is None:
        try:
            preview = rollouts.preview_rollout(visit.scope, visit.node, request_of(preview_of or form))
        except Refused as error:
            # The first look at an empty fleet is no mistake of the person's.
            problem = None if quiet else at_fields(error)
    suggested, origin = _suggested(visit)
    return Show(
        "rollout_new.html",
        "Create rollout",
        {
            "form": form,
            "strategy_from": origin if form.strategy_fields() == suggested else "",
            "options": options,
            "groups": groups.names(visit.scope, visit.node),
            "caret": caret(form.selector),
            "targets": TARGETS,
            "approvals": APPROVALS,
            "probes": PROBES,
            "most_probes": MAX_PROBES,
            "preview": preview,
            "waves": waves.preview_picture(preview) if preview else [],
        },
        problem=problem,
    )


PAGES = (
    Page("GET", "/rollouts/new", "rollouts.write", begin, nav="rollouts"),
    Page("POST", "/rollouts/new/preview", "rollouts.write", again, nav="rollouts"),
    Page("POST", "/rollouts/new", "rollouts.write", create, nav="rollouts"),
)
