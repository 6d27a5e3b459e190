"""Messages as the first release wrote them: they must be read for ever: agents in the field are older."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tidegate.wire import descriptor, device, enrollment, problem

CORPUS = Path(__file__).parent.parent / "wire_corpus"
TYPES: dict[str, type[msgspec.Struct]] = {
    path.stem: getattr(
        next(module for module in (device, enrollment, descriptor, problem) if hasattr(module, path.stem)), path.stem
    )
    for path in sorted(CORPUS.glob("*.json"))
}
FROM_DEVICES = {"Register", "Heartbeat", "LeaveRequest", "Reports", "Renew", "Enroll"}
TO_DEVICES = {"Registered", "HeartbeatAnswer", "LeaveAnswer", "ReportsAnswer", "Renewed", "Enrolled", "Problem"}


@pytest.mark.parametrize("name", TYPES)
def test_a_message_of_the_first_release_is_read_and_written_without_loss(name: str) -> None:
    text = (CORPUS / f"{name}.json").read_bytes()
    message = msgspec.json.decode(text, type=TYPES[name])
    assert msgspec.json.decode(msgspec.json.encode(message), type=TYPES[name]) == message
    lost = msgspec.json.decode(text).keys() - msgspec.to_builtins(message).keys()
    assert lost <= {"schema"}  # a default is left out; descriptor.encode writes this one back


@pytest.mark.parametrize("name", sorted(FROM_DEVICES | {"Descriptor"}))
def test_an_unknown_field_is_refused_where_the_node_or_a_signature_must_understand_all(name: str) -> None:
    fields = msgspec.json.decode((CORPUS / f"{name}.json").read_bytes())
    fields["surprise"] = 1
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.convert(fields, TYPES[name])


@pytest.mark.parametrize("name", sorted(TO_DEVICES))
def test_an_older_agent_ignores_what_a_newer_node_adds(name: str) -> None:
    fields = msgspec.json.decode((CORPUS / f"{name}.json").read_bytes())
    fields["added_later"] = {"any": "thing"}
    msgspec.convert(fields, TYPES[name])


@pytest.mark.parametrize("kind", [device.DeviceName, device.ArtifactName, device.Version, device.Sha256])
def test_a_name_does_not_end_in_a_newline(kind: object) -> None:
    value = "0" * 64
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value[:60] + "\n", kind)
