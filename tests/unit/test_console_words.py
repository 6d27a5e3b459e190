from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from starlette.requests import Request

from tidegate.control.console import guard, live, words
from tidegate.control.console.handlers.new_rollout import ProbeRow, Typed, WaveRow, request_of
from tidegate.control.console.views import Slice
from tidegate.control.console.waves import sentence
from tidegate.errors import Forbidden, Invalid
from tidegate.wire.device import HttpProbe

NOW = datetime(2026, 11, 23, 14, 32, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (1800, "30 min"), (13_440, "3 h 44 min"), (1_400_000, "16 d")],
)
def test_durations(seconds: int, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("none", 0),
        ("", 0),
        ("90", 90),
        ("30 min", 1800),
        ("2 h 30 min", 9000),
        ("1d", 86_400),
        ("soon", None),
        ("-5 s", None),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: int | None) -> None:
    assert words.seconds_of(text) == seconds


def test_numbers_times_and_sizes() -> None:
    assert words.percent(Decimal(5) / 416) == "1.2 %"
    assert words.percent(Decimal(0)) == "0 %"
    assert words.number(48_211) == "48,211"
    assert words.plural(1, "device") == "1 device"
    assert words.file_size(413_138_944) == "394 MiB"
    assert words.clock(NOW - timedelta(hours=3), NOW) == "11:32"
    assert words.clock(NOW - timedelta(days=3), NOW) == "2026-11-20"
    assert words.until(NOW + timedelta(minutes=5), NOW) == "in 5 min"
    assert words.until(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert words.shortened("x" * 300, 10) == "x" * 9 + "…"


def test_the_sentence_is_a_heading_and_what_follows() -> None:
    said = "Waiting on 2 of 5 devices in wave 1: 1 assigned, 1 applying. Then wave 2 (5 devices) is released"
    assert sentence(said) == (
        "Waiting on 2 of 5 devices in wave 1",
        "1 assigned, 1 applying. Then wave 2 (5 devices) is released",
    )
    assert sentence("Waiting on nothing") == ("Waiting on nothing", "")


@pytest.mark.parametrize(
    "address",
    ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:1", "", "/\n"],
)
def test_a_redirect_never_leaves_the_console(address: str) -> None:
    assert guard.local_path(address) == "/"


def test_a_redirect_inside_the_console_is_followed() -> None:
    assert guard.local_path("/devices?filter=offline") == "/devices?filter=offline"


def _request(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"tg:8443"), *named]})


@pytest.mark.parametrize(
    "headers", [{"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "https://elsewhere:8443"}]
)
def test_forms_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="another site"):
        guard.refuse_foreign(_request(**headers))


def test_own_forms_are_accepted() -> None:
    guard.refuse_foreign(_request())
    guard.refuse_foreign(_request(sec_fetch_site="same-origin", origin="https://tg:8443"))


def test_streams_rest_longer_the_more_there_are() -> None:
    assert live._pause(0.01, 1) == live.SETTLE_SECONDS
    assert live._pause(0.05, 40) == pytest.approx(8)
    assert live._pause(1.0, 200) == live.MOST_SETTLE_SECONDS


def test_a_slice_knows_its_neighbours() -> None:
    middle = Slice(50, 50, 130, 50, [("q", "a b"), ("state", "")])
    assert (middle.previous, middle.next) == (0, 100)
    assert middle.query(100) == "?q=a+b&offset=100"
    assert Slice(100, 30, 130, 50).next is None


def test_the_form_of_a_rollout_is_read() -> None:
    form = Typed(
        artifact="silero-vad/6.0",
        target="devices",
        devices="cam-1, cam-2\ncam-3",
        waves=(WaveRow("2"), WaveRow("group lab"), WaveRow("100 %", "manual", "30 min")),
        max_failure_rate="2.5 %",
        max_in_flight="12",
        probes=(ProbeRow("http", "8600/ready"),),
    )
    request = request_of(form)
    assert request.target.devices == ("cam-1", "cam-2", "cam-3")
    assert request.strategy is not None
    assert request.strategy["waves"] == [
        {"count": 2, "approval": "auto", "soak_seconds": 0},
        {"group": "lab", "approval": "auto", "soak_seconds": 0},
        {"percent": "100", "approval": "manual", "soak_seconds": 1800},
    ]
    assert request.strategy["max_failure_rate"] == "0.025"
    assert request.strategy["max_in_flight"] == 12
    assert request.probes == (HttpProbe(port=8600, path="/ready", timeout_seconds=30, attempts=3),)


def test_every_mistake_in_the_form_is_named() -> None:
    form = Typed(
        waves=(WaveRow("many"), WaveRow("100 %", soak="soon")),
        max_failure_rate="few",
        start_at="tomorrow",
        probes=(ProbeRow("exec", "../sh", attempts="99"),),
    )
    with pytest.raises(Invalid) as refused:
        request_of(form)
    assert {error.pointer for error in refused.value.errors} >= {
        "/artifact",
        "/strategy/waves/0",
        "/strategy/waves/1/soak_seconds",
        "/max_failure_rate",
        "/start_at",
    }
