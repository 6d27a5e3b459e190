"""One rollout, live: what it waits on, the verbs, its waves and devices; and the page to abort it."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.console import acts, waves, words
from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.domain.rollouts.model import IN_FLIGHT, WITH_LEAVE, WITHOUT_LEAVE, AssignmentState, Verb
from tidegate.control.services import explain, rollouts
from tidegate.control.services.rollouts import AssignmentFilter, RolloutDetail, TimelineEntry, VerbView
from tidegate.errors import NotFound, Refused, TidegateError
from tidegate.ids import RolloutId
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe, Probe

SIZE = 50
TIMELINE = 30
_S = AssignmentState
_TROUBLE = (_S.FAILED, _S.ROLLED_BACK, _S.REVERT_FAILED)
_ROW_LOOK = {_S.FAILED: "is-bad", _S.REVERT_FAILED: "is-bad", _S.ROLLED_BACK: "is-back", _S.REVERTING: "is-back"}
_DONE = {Verb.APPROVE: "approved", Verb.HALT: "halted", Verb.RESUME: "resumed"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What the confirmations say in numbers."""

    open: int
    at_work: int
    waiting: int
    pending: int
    trouble: int
    never: int


def _figures(rollout: RolloutDetail) -> Figures:
    counts = rollout.counts

    def total(*states: AssignmentState) -> int:
        return sum(counts.get(state, 0) for state in states)

    released = [wave for wave in rollout.waves if wave.released]
    return Figures(
        open=sum(waves.open_of(wave.counts) for wave in released),
        at_work=total(*WITH_LEAVE),
        waiting=total(*WITHOUT_LEAVE),
        pending=sum(wave.counts.get(_S.PENDING, 0) for wave in released),
        trouble=total(*_TROUBLE),
        never=rollout.target_size - rollout.released_size,
    )


def _why_short(why: str) -> str:
    """The reason of a dashed verb; the verb itself stands before it."""
    _, found, state = why.partition(" a rollout that is ")
    if found:
        return f"the rollout is {state}"
    _, found, rule = why.partition(" one's own rollout: ")
    return f"you, or an API key of yours, created it; {rule}" if found else why.removeprefix("cannot ")


_KINDS = (
    ("halt", ("bad", "halted")),
    ("fail", ("bad", "failed")),
    ("rolled", ("back", "rolled_back")),
    ("revert", ("back", "reverting")),
    ("drift", ("back", "drifted")),
    ("approve", ("good", "approve")),
    ("healthy", ("good", "healthy")),
    ("complete", ("good", "completed")),
    ("resume", ("flow", "resume")),
    ("wait", ("wait", "waiting_for_approval")),
    ("soak", ("flow", "soaking")),
    ("release", ("flow", "running")),
    ("abort", ("quiet", "aborted")),
    ("create", ("quiet", "plus")),
)


def entry_look(entry: TimelineEntry) -> tuple[str, str]:
    """Tone and icon of one line of the timeline: a device's state has its own, an act that of what it does."""
    if entry.kind in words.LOOKS:
        return words.LOOKS[entry.kind]
    return next((look for word, look in _KINDS if word in entry.kind), ("quiet", "info"))


def probe_words(probe: Probe) -> str:
    """What is probed, and how patiently."""
    match probe:
        case ExecProbe(name=name):
            what = f"exec {name}"
        case HttpProbe(port=port, path=path):
            what = f"http 127.0.0.1:{port}{path}"
        case FileProbe(path=path):
            what = f"file {path}"
    attempts = words.plural(probe.attempts, "attempt")
    return f"{what}, {attempts} of {words.duration(probe.timeout_seconds)}"


def shown(visit: Visit) -> Outcome:
    return _show(visit, RolloutId(visit.integer("id")))


def _show(visit: Visit, rollout_id: RolloutId, problem: TidegateError | None = None) -> Show:
    scope, node = visit.scope, visit.node
    rollout = rollouts.get_rollout(scope, node, rollout_id)
    figures = _figures(rollout)
    show = visit.ask("show")
    if show not in {"attention", "open", "healthy", "all", *map(str, AssignmentState)}:
        show = "attention" if figures.trouble else "all"
    search, offset = visit.ask("q").strip()[:128], visit.offset()
    wanted = AssignmentFilter(show=show, search=search, limit=SIZE, offset=offset)
    page = rollouts.list_assignments(scope, node, rollout_id, wanted)
    heading, rest = waves.sentence(rollout.waiting_on)
    following = waves.next_wave(rollout)
    reverts = rollout.abort_policy == "revert"
    return Show(
        "rollout.html",
        f"{rollout.state}: {rollout.artifact} {rollout.version} to {rollout.target}",
        {
            "rollout": rollout,
            "figures": figures,
            "heading": heading,
            "rest": rest,
            "verbs": {str(verb.verb): verb for verb in rollout.verbs},
            "abort_why": _abort_why(rollout.verbs),
            "why_short": _why_short,
            "entry_look": entry_look,
            "act_words": acts.done,
            "probe_words": probe_words,
            "state_words": waves.state_words,
            "failures": waves.failures(rollout),
            "waves": waves.picture(rollout, visit.now),
            "labels": waves.REVERT_LABELS if reverts else ("healthy", "open", "rolled_back", "failed"),
            "wave_rows": list(zip(rollout.waves, waves.gate_words(rollout, visit.now), strict=True)),
            "wave_state": waves.wave_state,
            "areas": waves.areas,
            "following": following,
            "last": following is not None and following.wave == rollout.waves[-1].wave,
            "show": show,
            "search": search,
            "rows": page.items,
            "row_look": _ROW_LOOK,
            "slice": Slice(
                offset,
                len(page.items),
                page.total,
                SIZE,
                [("show", show), ("q", search), ("why", visit.ask("why")[:63])],
            ),
            **_why(visit, rollout),
            "timeline": rollouts.rollout_timeline(scope, node, rollout_id)[:TIMELINE],
            "in_flight": sum(rollout.counts.get(state, 0) for state in IN_FLIGHT),
        },
        problem=problem,
    )


def _why(visit: Visit, rollout: RolloutDetail) -> dict[str, object]:
    """Why one device runs what it runs of this artifact, when somebody asks for it by name."""
    name = visit.ask("why").strip()[:63]
    explanation, unknown = None, ""
    if name:
        try:
            explanation = explain.explain(visit.scope, visit.node, name, rollout.artifact)
        except NotFound as error:
            unknown = error.detail
    return {"why_device": name, "explanation": explanation, "why_unknown": unknown}


def _abort_why(verbs: tuple[VerbView, ...]) -> str:
    """Why neither policy is possible; empty when one is."""
    aborts = [verb for verb in verbs if verb.verb in (Verb.ABORT_KEEP, Verb.ABORT_REVERT)]
    return "" if any(verb.possible for verb in aborts) else next((verb.why_not for verb in aborts), "not possible")


def _generation(visit: Visit) -> int:
    """What the person saw: refused when the rollout has moved since. -1, which none is, when the form does not say."""
    value = visit.text("generation")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else -1


def _command(visit: Visit, verb: Verb) -> Outcome:
    rollout_id = RolloutId(visit.integer("id"))
    try:
        rollouts.command_rollout(
            visit.scope, visit.node, rollout_id, verb, reason=visit.text("reason"), generation=_generation(visit)
        )
    except NotFound:
        raise
    except Refused as error:
        return _show(visit, rollout_id, error)
    return Go(f"/rollouts/{rollout_id}", _DONE.get(verb, "aborted"))


def approve(visit: Visit) -> Outcome:
    return _command(visit, Verb.APPROVE)


def halt(visit: Visit) -> Outcome:
    return _command(visit, Verb.HALT)


def resume(visit: Visit) -> Outcome:
    return _command(visit, Verb.RESUME)


def abort_page(visit: Visit) -> Outcome:
    return _abort(visit, {"policy": visit.ask("policy") or "keep", "reason": ""})


def _abort(visit: Visit, typed: dict[str, str], problem: TidegateError | None = None) -> Show:
    rollout_id = RolloutId(visit.integer("id"))
    preview = rollouts.preview_abort(visit.scope, visit.node, rollout_id)
    verbs = {verb.verb: verb for verb in preview.rollout.verbs}
    return Show(
        "rollout_abort.html",
        f"Abort rollout {rollout_id}",
        {
            "preview": preview,
            "rollout": preview.rollout,
            "typed": typed,
            "skipped": sum(preview.skipped.values()),
            "back": sum(way.devices for way in preview.back),
            "offline": sum(way.offline for way in preview.back),
            "keep_why": verbs[Verb.ABORT_KEEP].why_not,
            "revert_why": preview.revert_refused or verbs[Verb.ABORT_REVERT].why_not,
        },
        problem=problem,
    )


def abort(visit: Visit) -> Outcome:
    """The artifact's name is typed once more, since an abort is final."""
    rollout_id = RolloutId(visit.integer("id"))
    typed = {"policy": visit.text("policy"), "reason": visit.text("reason")}
    name = rollouts.get_rollout(visit.scope, visit.node, rollout_id).artifact
    try:
        if typed["policy"] not in ("keep", "revert"):
            raise wrong("policy", "must be keep or revert")
        if not typed["reason"]:
            raise wrong("reason", "must be given")
        if visit.text("confirm") != name:
            raise wrong("confirm", f"must be the artifact's name, {name}")
        verb = Verb.ABORT_REVERT if typed["policy"] == "revert" else Verb.ABORT_KEEP
        rollouts.command_rollout(
            visit.scope, visit.node, rollout_id, verb, reason=typed["reason"], generation=_generation(visit)
        )
    except NotFound:
        raise
    except Refused as error:
        return _abort(visit, typed, error)
    return Go(f"/rollouts/{rollout_id}", "aborted")


PAGES = (
    Page("GET", "/rollouts/{id:int}", "rollouts.read", shown, nav="rollouts", live=True),
    Page("POST", "/rollouts/{id:int}/approve", "rollouts.approve", approve, nav="rollouts"),
    Page("POST", "/rollouts/{id:int}/halt", "rollouts.write", halt, nav="rollouts"),
    Page("POST", "/rollouts/{id:int}/resume", "rollouts.approve", resume, nav="rollouts"),
    Page("GET", "/rollouts/{id:int}/abort", "rollouts.write", abort_page, nav="rollouts"),
    Page("POST", "/rollouts/{id:int}/abort", "rollouts.write", abort, nav="rollouts"),
)
