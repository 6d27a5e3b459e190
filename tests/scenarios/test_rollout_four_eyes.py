"""Four eyes: who created a rollout neither approves nor resumes it, not with an own API key either."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tidegate.control.domain.access import Actor, Scope
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target, command_rollout, create_rollout, get_rollout
from tidegate.errors import Forbidden
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

MANUAL = {"waves": [{"percent": 100, "approval": "manual"}]}


def _person(node: Node, name: str, *, key: str = "") -> Scope:
    actor = Actor("apikey", key) if key else Actor("user", name)
    return replace(admin_scope(node), actor=actor, person=name)


def _created(node: Node, scope: Scope) -> int:
    catalog(node, scope, "vad", "1.0")
    enroll(node, scope, ["cam-1"])
    target = Target(everyone=True)
    return create_rollout(scope, node, NewRollout("vad", "1.0", target, strategy=MANUAL)).id


def _strict(node: Node) -> Node:
    return replace(node, settings=msgspec.structs.replace(node.settings, four_eyes=True))


def test_the_creator_and_the_creators_key_are_refused_and_another_person_is_not(node: Node) -> None:
    node = _strict(node)
    rollout = _created(node, _person(node, "ada"))
    for own in (_person(node, "ada"), _person(node, "ada", key="ci")):
        with pytest.raises(Forbidden, match="four_eyes asks for another person") as refused:
            command_rollout(own, node, rollout, Verb.APPROVE)
        assert refused.value.permission == "rollouts.approve"
    assert get_rollout(_person(node, "ada"), node, rollout).state == "waiting_for_approval"
    assert command_rollout(_person(node, "bob"), node, rollout, Verb.APPROVE).released_wave == 1


def test_stopping_is_always_ones_own(node: Node) -> None:
    node = _strict(node)
    ada = _person(node, "ada")
    rollout = _created(node, ada)
    assert command_rollout(ada, node, rollout, Verb.HALT).state == "halted"
    with pytest.raises(Forbidden):
        command_rollout(ada, node, rollout, Verb.RESUME)
    assert command_rollout(ada, node, rollout, Verb.ABORT_KEEP).state == "aborted"


def test_the_verbs_say_so_before_they_are_pressed(node: Node) -> None:
    node = _strict(node)
    rollout = _created(node, _person(node, "ada"))
    own = {verb.verb: verb.why_not for verb in get_rollout(_person(node, "ada"), node, rollout).verbs}
    others = {verb.verb: verb.why_not for verb in get_rollout(_person(node, "bob"), node, rollout).verbs}
    assert "four_eyes" in own[Verb.APPROVE]
    assert others[Verb.APPROVE] == ""


def test_without_the_setting_one_person_is_enough(node: Node) -> None:
    ada = _person(node, "ada")
    assert command_rollout(ada, node, _created(node, ada), Verb.APPROVE).released_wave == 1


def test_turning_it_off_does_not_free_what_was_created_under_it(node: Node) -> None:
    rollout = _created(_strict(node), _person(node, "ada"))
    with pytest.raises(Forbidden):
        command_rollout(_person(node, "ada"), node, rollout, Verb.APPROVE)
