"""The form that creates a rollout: what is typed is read or refused at its field, and never lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.control.console.handlers.new_rollout import ProbeRow, Typed, WaveRow, at_fields, request_of
from tidegate.control.domain.rollouts.strategy import parse_strategy
from tidegate.errors import FieldError, Invalid, NotFound
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe

FORM = Typed(artifact="model/1")


@pytest.mark.parametrize(
    ("kind", "what", "probe"),
    [
        ("exec", "self-test", ExecProbe("self-test", 90, 4, 60, 10)),
        ("http", "8600/ready", HttpProbe(8600, "/ready", 90, 4, 60, 10)),
        ("http", "http://127.0.0.1:8600", HttpProbe(8600, "/", 90, 4, 60, 10)),
        ("file", "/run/ready", FileProbe("/run/ready", 90, 4, 60, 10)),
    ],
)
def test_every_kind_of_probe_takes_its_parameters(kind: str, what: str, probe: object) -> None:
    row = ProbeRow(kind, what, timeout="1 min 30 s", attempts="4", initial_delay="1 min", interval="10")
    assert request_of(replace(FORM, probes=(row,))).probes == (probe,)


def test_several_probes_in_their_order_and_mistakes_at_theirs() -> None:
    rows = (ProbeRow("exec", "self-test"), ProbeRow("http", "8600/ready"), ProbeRow("file", "/run/ready"))
    assert request_of(replace(FORM, probes=rows)).probes == (
        ExecProbe("self-test", 30, 3, 0, 5),
        HttpProbe(8600, "/ready", 30, 3, 0, 5),
        FileProbe("/run/ready", 30, 3, 0, 5),
    )
    with pytest.raises(Invalid) as refused:
        request_of(replace(FORM, probes=(rows[0], ProbeRow("http", "8600/ready", timeout="301 s"), ProbeRow())))
    assert [error.pointer for error in refused.value.errors] == ["/probes/1/timeout"]


@pytest.mark.parametrize(
    ("field", "typed", "pointer"),
    [
        ("max_failure_rate", "1e999999999", "/max_failure_rate"),
        ("max_failure_rate", "NaN %", "/max_failure_rate"),
        ("deadline", "soon", "/deadline"),
        ("start_at", "tomorrow", "/start_at"),
        ("start_at", "0001-01-01T00:00+23:00", "/start_at"),
        ("probes/0/timeout", "301 s", "/probes/0/timeout"),
        ("probes/0/attempts", "many", "/probes/0/attempts"),
        ("probes/0/initial_delay", "2 h", "/probes/0/initial_delay"),
        ("probes/0/interval", "x", "/probes/0/interval"),
        ("probes/0/what", "Not A Name", "/probes/0/what"),
        ("artifact", "nothing", "/artifact"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_field(field: str, typed: str, pointer: str) -> None:
    of_form, of_probe = ({}, {field.rpartition("/")[2]: typed}) if "/" in field else ({field: typed}, {})
    form = replace(FORM, probes=(replace(ProbeRow("exec", "self-test"), **of_probe),), **of_form)
    with pytest.raises(Invalid) as refused:
        request_of(form)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_what_the_engine_refuses_is_told_at_the_field_it_was_typed_in() -> None:
    form = replace(FORM, waves=(WaveRow("50 %"), WaveRow("20 %")), max_failure_rate="100 %", max_in_flight="0 %")
    with pytest.raises(Invalid) as refused:
        parse_strategy(request_of(form).strategy)
    told = {error.pointer for error in at_fields(refused.value).errors}  # type: ignore[attr-defined]
    assert {"/max_failure_rate", "/max_in_flight"} <= told
    assert any(pointer.startswith("/strategy/waves/1") for pointer in told)
    named = Invalid("no", (FieldError("/target/devices/3", "a"), FieldError("/target/group", "b")))
    assert [error.pointer for error in at_fields(named).errors] == ["/devices", "/group"]  # type: ignore[attr-defined]
    other = NotFound("cannot find it")
    assert at_fields(other) is other


@pytest.mark.parametrize("number", ["1e99999999", "1e-99999999", "0e99999999"])
def test_a_short_number_that_is_long_when_written_out_is_refused(number: str) -> None:
    for strategy in ({"max_failure_rate": number}, {"max_in_flight": f"{number}%"}, {"waves": [{"percent": number}]}):
        with pytest.raises(Invalid):
            parse_strategy(strategy)
