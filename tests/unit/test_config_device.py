"""A config on the device, over real files: what is at its destination afterwards, and every attack on the way there."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.agent.files import RealFiles
from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.payloads.config import ConfigPayload
from tidegate.agent.payloads.owner import Owner
from tidegate.agent.settings import Allow
from tidegate.agent.store import ContentStore
from tidegate.agent.transaction.model import Release
from tidegate.errors import Refused, Untrusted
from tidegate.wire import descriptor as descriptors
from tidegate.wire.config import ConfigOptions, ProgramReload, Reload, UnitReload
from tidegate.wire.descriptor import Descriptor, PayloadFile

PLACE = "/etc/app/app.conf"
UNIT = UnitReload("app.service")
OTHER = UnitReload("other.service")


class Workload:
    """What reads the file: remembers what it was told, and dislikes what contains `dislikes`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []
        self.units: list[tuple[str, str]] = []
        self.states: dict[str, str] = {}
        self.dislikes = "bad"
        self.over = ""
        self.allowed = True

    def refusal(self, reload: Reload) -> str:
        return "" if self.allowed else "cannot reload: not allowed any more"

    def before(self, reload: Reload) -> str:
        if refused := self.refusal(reload):
            raise Refused(refused)
        return self.states.get(reload.unit, "active") if isinstance(reload, UnitReload) else ""

    def ended(self, reload: Reload, before: str) -> str:
        return self.over if before == "active" else ""

    def reload(self, reload: Reload, before: str) -> None:
        if refused := self.refusal(reload):
            raise Refused(refused)
        if isinstance(reload, UnitReload):
            self.units.append((reload.unit, before))
        path = self.root / PLACE[1:]
        self.told.append(path.read_text() if path.exists() else "nothing")
        if self.dislikes in self.told[-1]:
            raise NotTaken("the reload of app.service ended with exit status 1", "app: this is no configuration")


class Device:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc/app").mkdir(parents=True)
        self.file = root / PLACE[1:]
        self.allow = Allow(destination_prefixes=("/etc/app", "/srv"), units=("app.service",))
        self.own: tuple[str, ...] = ()
        self.workload = Workload(root)
        self.store = ContentStore(root / "state/content")
        owner = Owner(lambda: self.allow, lambda: self.own, self.workload, root)
        self.payload = ConfigPayload(root / "state/configs", self.store, owner=owner)

    def staged(self, version: str, text: str, place: str = PLACE, mode: str = "", name: str = "app",
               reload: Reload | None = UNIT) -> Release:  # fmt: skip
        """A version, verified and laid out."""
        data = text.encode()
        file = PayloadFile("app.conf", hashlib.sha256(data).hexdigest(), len(data))
        made = Descriptor("default", name, version, "config", (file,), config=ConfigOptions(place, mode, reload))
        encoded = descriptors.encode(made)
        release = Release(version, hashlib.sha256(encoded).hexdigest())
        self.store.put(file.sha256, data)
        self.store.put(release.descriptor_sha256, encoded)
        self.payload.check(name, made)
        self.payload.stage(name, release, made)
        return release

    def tries(self, version: str, text: str, **more: Any) -> Release:
        """A version in force, and on trial."""
        release = self.staged(version, text, **more)
        assert self.payload.refusal(more.get("name", "app"), release) == ""
        self.payload.switch(more.get("name", "app"), release)
        return release

    def runs(self, version: str, text: str, **more: Any) -> Release:
        """The same, committed."""
        release = self.tries(version, text, **more)
        self.commits(more.get("name", "app"))
        return release

    def commits(self, name: str = "app") -> None:
        self.payload.forget(name, self.payload.facts(name).whole)

    def unsettled(self) -> str:
        return self.payload.facts("app").unsettled


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


# -- the plain way --------------------------------------------------------------------------------


def test_a_version_is_put_there_and_whoever_reads_it_is_told(device: Device) -> None:
    one = device.runs("1", "level = 1")
    assert (device.file.read_text(), device.file.stat().st_mode & 0o7777) == ("level = 1", 0o644)
    assert device.payload.facts("app") == device.payload.facts("app")
    assert (device.payload.facts("app").running, device.unsettled()) == (one, "")
    device.runs("2", "level = 2", mode="0600")
    assert (device.file.read_text(), device.file.stat().st_mode & 0o7777) == ("level = 2", 0o600)
    assert device.workload.told == ["level = 1", "level = 2"]
    assert sorted(path.name for path in device.file.parent.iterdir()) == ["app.conf"]


def test_a_private_file_is_private_everywhere_and_at_every_instant(device: Device) -> None:
    release = device.staged("1", "password = x", mode="0600")
    folder = device.payload._folder("app", release)
    assert folder.stat().st_mode & 0o077 == 0


def test_owner_and_mode_of_the_file_before_are_kept(device: Device) -> None:
    device.file.write_text("from before")
    device.file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(device.file, 1234, 2345)
    facts = device.file.stat()
    device.runs("1", "level = 1")
    after = device.file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (facts.st_mode, facts.st_uid, facts.st_gid)


def test_removing_it_puts_back_what_was_there_before_the_first_version(device: Device) -> None:
    device.file.write_text("from before")
    device.file.chmod(0o600)
    device.runs("1", "level = 1", mode="0644")
    device.runs("2", "level = 2")
    device.payload.switch("app", None)
    assert (device.file.read_text(), device.file.stat().st_mode & 0o7777) == ("from before", 0o600)
    assert device.workload.told[-1] == "from before"
    device.payload.forget("app", ())
    assert (device.payload.names(), device.payload.facts("app").running) == ((), None)


def test_removing_it_leaves_nothing_where_nothing_was(device: Device) -> None:
    device.runs("1", "level = 1")
    device.payload.switch("app", None)
    device.payload.forget("app", ())
    assert not device.file.exists()
    assert device.payload.names() == ()


def test_a_version_with_another_destination_leaves_the_first(device: Device) -> None:
    (device.root / "srv").mkdir()
    device.runs("1", "level = 1")
    device.runs("2", "level = 2", place="/srv/app.conf")
    assert not device.file.exists()
    assert (device.root / "srv/app.conf").read_text() == "level = 2"


def test_a_reload_that_fails_is_undone_with_a_reload_of_the_old(device: Device) -> None:
    one = device.runs("1", "level = 1")
    two = device.staged("2", "bad")
    with pytest.raises(NotTaken) as failed:
        device.payload.switch("app", two)
    assert failed.value.output == "app: this is no configuration"
    assert "exit status 1" in device.unsettled()
    device.payload.restore("app", one)
    assert (device.file.read_text(), device.unsettled()) == ("level = 1", "")
    assert device.workload.told == ["level = 1", "bad", "level = 1"]


def test_the_first_version_that_fails_gives_back_what_was_there(device: Device) -> None:
    device.file.write_text("from before")
    with pytest.raises(NotTaken):
        device.payload.switch("app", device.staged("1", "bad"))
    device.payload.restore("app", None)
    assert device.file.read_text() == "from before"
    assert device.workload.told == ["bad", "from before"]
    assert device.unsettled() == ""


def test_going_back_puts_the_file_back_also_when_the_owner_allows_nothing_any_more(device: Device) -> None:
    one = device.runs("1", "level = 1")
    with pytest.raises(NotTaken):
        device.payload.switch("app", device.staged("2", "bad"))
    device.allow, device.workload.allowed = Allow(), False
    with pytest.raises(Refused, match="not allowed any more"):
        device.payload.restore("app", one)
    assert device.file.read_text() == "level = 1"
    assert "not allowed any more" in device.unsettled()


def test_going_back_after_a_probe_puts_the_file_back_before_it_asks_for_leave_to_reload(device: Device) -> None:
    one = device.runs("1", "level = 1")
    device.runs("2", "level = 2")
    device.workload.allowed = False
    with pytest.raises(Refused, match="not allowed any more"):
        device.payload.restore("app", one)
    assert device.file.read_text() == "level = 1"


def test_what_reads_the_version_taken_back_is_told_though_the_old_one_names_nobody(device: Device) -> None:
    one = device.runs("1", "level = 1", reload=None)
    device.runs("2", "level = 2")
    device.payload.restore("app", one)
    assert device.workload.told == ["level = 2", "level = 1"]


def test_both_are_told_when_versions_name_different_units_and_a_stopped_one_stays_so(device: Device) -> None:
    one = device.runs("1", "level = 1", reload=OTHER)
    two = device.staged("2", "bad")
    device.workload.states = {"other.service": "inactive"}
    with pytest.raises(NotTaken):
        device.payload.switch("app", two)
    device.workload.units.clear()
    # What it has become by the new file is not how it stood.
    device.workload.states = {"app.service": "inactive"}
    device.payload.restore("app", one)
    assert device.workload.units == [("other.service", "inactive"), ("app.service", "active")]


def test_one_that_does_not_take_the_way_back_keeps_nobody_from_being_told(device: Device) -> None:
    one = device.runs("1", "level = 1", reload=OTHER)
    device.runs("2", "level = 2")
    device.workload.dislikes = "level = 1"
    device.workload.units.clear()
    with pytest.raises(NotTaken):
        device.payload.restore("app", one)
    assert [unit for unit, _ in device.workload.units] == ["other.service", "app.service"]


@pytest.mark.parametrize("harmed", ["descriptor.json", "app.conf"])
def test_a_version_that_has_changed_on_the_device_can_be_taken_back_and_removed(device: Device, harmed: str) -> None:
    one = device.runs("1", "level = 1")
    two = device.runs("2", "level = 2")
    file = device.payload._folder("app", two) / harmed
    file.unlink()
    file.write_text("changed")
    device.payload.restore("app", one)
    assert device.file.read_text() == "level = 1"
    file = device.payload._folder("app", one) / harmed
    file.unlink()
    file.write_text("changed")
    device.payload.switch("app", None)
    assert not device.file.exists()


def test_an_intent_that_cannot_be_kept_leaves_nothing_beside_the_file(device: Device) -> None:
    class FullState(RealFiles):
        def write(self, path: Path, data: bytes) -> None:
            if "moving" in path.name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            super().write(path, data)

    device.runs("1", "level = 1")
    two = device.staged("2", "level = 2")
    device.payload._files = FullState()
    with pytest.raises(OSError, match="No space left"):
        device.payload.switch("app", two)
    assert [path.name for path in device.file.parent.iterdir()] == ["app.conf"]
    assert device.unsettled() == ""


@pytest.mark.parametrize("damage", [b'{"before": null, "to": null, "trouble": "\xff"}', b'{"before": ', b""])
def test_a_damaged_intent_is_said_and_mended_by_the_next_switch(device: Device, damage: bytes) -> None:
    one = device.runs("1", "level = 1")
    moving = device.root / "state/configs/app/own/moving.json"
    moving.write_bytes(damage)
    assert "a switch has not ended: cannot use" in device.unsettled()
    device.payload.restore("app", one)
    assert (device.file.read_text(), device.unsettled()) == ("level = 1", "")
    moving.write_bytes(damage)
    device.runs("2", "level = 2")
    assert (device.file.read_text(), device.unsettled()) == ("level = 2", "")


# -- records that are damaged --------------------------------------------------------------------------------


def record_of(device: Device, suffix: str = ".json") -> Path:
    return next((device.root / "state/configs/app/own").glob(f"*{suffix}"))


def harm(file: Path) -> None:
    """One bit."""
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("suffix", [".json", ".before"])
def test_a_damaged_record_holds_up_nothing_but_leaving_its_destination(device: Device, suffix: str) -> None:
    device.file.write_text("from before")
    one = device.runs("1", "level = 1")
    harm(record_of(device, suffix))
    (said,) = device.payload.damaged("app")
    assert str(record_of(device)) in said
    assert "until the device's owner runs tidegate-agent repair" in said
    # Nobody else is held up, except at the very same destination.
    device.runs("1", "level = 1", place="/etc/app/other.conf", name="other")
    with pytest.raises(Refused, match="it belongs to the artifact app on this device"):
        device.staged("2", "level = 2", name="other")
    # Neither is its next version, nor the way back from it.
    device.tries("2", "level = 2")
    device.payload.restore("app", one)
    assert (device.file.read_text(), device.unsettled()) == ("level = 1", "")
    device.commits()
    # What was there before cannot be put back, so nothing is touched and nobody told.
    told = list(device.workload.told)
    with pytest.raises(Untrusted, match="tidegate-agent repair"):
        device.payload.switch("app", None)
    assert (device.file.read_text(), device.unsettled(), device.workload.told) == ("level = 1", "", told)
    assert device.payload.facts("app").running == one


def test_the_owner_has_a_damaged_record_written_anew_from_the_copy(device: Device) -> None:
    device.file.write_text("from before")
    device.runs("1", "level = 1", mode="0640")
    harm(record_of(device))
    (said,) = device.payload.repair("app")
    assert said == (
        "app: /etc/app/app.conf gets back what was copied before, with mode and owner of the file that is there now"
    )
    assert (device.payload.damaged("app"), device.payload.repair("app")) == ((), ())
    device.payload.switch("app", None)
    assert (device.file.read_text(), device.file.stat().st_mode & 0o777) == ("from before", 0o640)


def test_a_copy_that_has_changed_is_not_put_back_but_kept_aside(device: Device) -> None:
    device.file.write_text("from before")
    device.runs("1", "level = 1")
    harm(record_of(device, ".before"))
    (said,) = device.payload.repair("app")
    assert "what was at /etc/app/app.conf before is not known any more" in said
    device.payload.switch("app", None)
    device.commits()
    assert not device.file.exists()
    assert record_of(device, ".before-damaged").read_bytes() != b"from before"


def test_a_damaged_record_of_a_destination_that_no_version_names_is_set_aside(device: Device) -> None:
    device.runs("1", "level = 1")
    stray = record_of(device).with_name(f"{'0' * 64}.json")
    stray.write_bytes(b"?")
    assert len(device.payload.damaged("app")) == 1
    (said,) = device.payload.repair("app")
    assert said.startswith("app: no version on the device names the destination of ")
    assert device.payload.damaged("app") == ()
    device.payload.switch("app", None)
    assert not device.file.exists()


# -- a hand on the device --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.write_text("level = 9"), "was changed on the device"),
        (lambda file: file.unlink(), "was removed on the device"),
        (lambda file: file.chmod(0o666), "was changed on the device"),
        (lambda file: (file.unlink(), file.symlink_to("/etc/passwd")), "is a link"),
    ],
)
def test_what_somebody_changes_by_hand_is_told_and_not_repaired(device: Device, harm: object, words: str) -> None:
    device.runs("1", "level = 1", mode="0644")
    harm(device.file)  # type: ignore[operator]
    assert words in device.unsettled()
    assert words in device.unsettled()


def test_the_same_version_again_puts_it_right_and_keeps_what_was_written_by_hand(device: Device) -> None:
    one = device.runs("1", "level = 1")
    device.file.write_text("level = 9  # at night, on site")
    device.payload.switch("app", one)
    assert (device.file.read_text(), device.unsettled()) == ("level = 1", "")
    kept = device.root / "state/configs/.edited/app"
    assert kept.read_text() == "level = 9  # at night, on site"
    assert kept.stat().st_mode & 0o077 == 0
    assert device.payload.names() == ("app",)


# -- what the owner has not allowed --------------------------------------------------------------------------------


def test_nothing_is_allowed_until_the_owner_says_so(device: Device) -> None:
    device.allow = Allow()
    with pytest.raises(Refused, match="below no destination prefix"):
        device.staged("1", "level = 1")


def test_what_the_owner_takes_back_while_it_waits_is_not_put_there(device: Device) -> None:
    release = device.staged("1", "level = 1")
    device.allow = Allow()
    assert "below no destination prefix" in device.payload.refusal("app", release)
    with pytest.raises(Refused, match="below no destination prefix"):
        device.payload.switch("app", release)
    assert not device.file.exists()


@pytest.mark.parametrize("place", ["/etc/application/x", "/etc/app", "/etc/passwd", "/srv2/x"])
def test_a_place_beside_the_prefix_is_not_below_it(device: Device, place: str) -> None:
    with pytest.raises(Refused, match="below no destination prefix"):
        device.staged("1", "level = 1", place)


def test_one_place_has_one_owner_by_whatever_path(device: Device) -> None:
    """As where a folder is mounted at a second place."""
    (device.root / "srv").mkdir()
    device.runs("1", "level = 1")
    tool("mount", "--bind", str(device.file.parent), str(device.root / "srv"))
    try:
        with pytest.raises(Refused, match="it belongs to the artifact app on this device"):
            device.staged("1", "level = 2", place="/srv/app.conf", name="other")
        with pytest.raises(Refused, match=r"it is /etc/app/app\.conf by another path, and app is there"):
            device.staged("2", "level = 2", place="/srv/app.conf")
        device.runs("1", "level = 2", place="/srv/other.conf", name="other")
    finally:
        detach(device.root / "srv")
    assert device.file.read_text() == "level = 1"


def test_one_destination_belongs_to_one_artifact(device: Device) -> None:
    device.runs("1", "level = 1")
    with pytest.raises(Refused, match="it belongs to the artifact app on this device"):
        device.staged("1", "level = 2", name="other")
    device.payload.switch("app", None)
    device.runs("1", "level = 2", name="other")
    assert device.file.read_text() == "level = 2"


@pytest.mark.parametrize(
    "place",
    [
        "/etc/tidegate/agent.toml",
        "/etc/tidegate/agent.d/wider.toml",
        "/var/lib/tidegate/identity/current.pem",
        "/etc/systemd/system/tidegate-agent.service",
        "/etc/systemd/system/tidegate-agent.service.d/more.conf",
        "/etc/systemd/system/service.d/all.conf",
        "/run/systemd/system/tidegate-agent.service.d/x.conf",
        "/usr/lib/systemd/system/tidegate-.service.d/x.conf",
        "/etc/systemd/system.control/tidegate-agent.service.d/x.conf",
        "/etc/systemd/system.attached/tidegate-agent.service",
        "/run/systemd/generator.late/tidegate-agent.service.d/x.conf",
        "/usr/local/bin/tidegate-agent",
        "/home/operator/agent/lib/tidegate-agent.pyz",
    ],
)
def test_the_agents_own_files_are_refused_whatever_the_owner_allows(device: Device, place: str) -> None:
    device.allow = Allow(destination_prefixes=("/etc", "/var", "/run", "/usr", "/home"))
    device.own = ("/etc/tidegate", "/var/lib/tidegate")
    with pytest.raises(Refused, match="belongs to the agent itself"):
        device.staged("1", "level = 1", place)


def test_the_agents_own_folder_is_known_by_any_name(device: Device) -> None:
    """As where it is mounted at a second place."""
    other = device.root / "etc/app/second"
    other.mkdir()
    device.own = (str(other),)
    release = device.staged("1", "level = 1", "/etc/app/second/x")
    assert "belongs to the agent itself" in device.payload.refusal("app", release)
    with pytest.raises(Refused, match="belongs to the agent itself"):
        device.payload.switch("app", release)


def test_a_part_of_the_agents_own_folders_is_known_where_it_is_mounted(device: Device) -> None:
    """As a workload's container is given the models."""
    other = device.root / "srv/a model\\s"
    other.mkdir(parents=True)
    (device.root / "state/models/m").mkdir(parents=True)
    device.own = (str(device.root / "state"),)
    tool("mount", "--bind", str(device.root / "state/models"), str(other))
    try:
        release = device.staged("1", "level = 1", "/srv/a model\\s/m/app.conf")
        assert "belongs to the agent itself" in device.payload.refusal("app", release)
    finally:
        detach(other)
    (other / "m").mkdir()
    assert device.payload.refusal("app", release) == ""


# -- links and other things in the way --------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that nobody allowed; nothing in it may change."""
    folder = tmp_path_factory.mktemp("victim")
    (folder / "app.conf").write_text("untouched")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["app.conf"]
    assert (folder / "app.conf").read_text() == "untouched"


def refused(device: Device, words: str) -> None:
    release = device.staged("1", "level = 1")
    assert words in device.payload.refusal("app", release)
    with pytest.raises((Refused, OSError), match=words):
        device.payload.switch("app", release)
    # Nothing was begun: not even told.
    assert (device.payload.facts("app").running, device.unsettled(), device.workload.told) == (None, "", [])


def test_a_link_at_the_destination_is_not_followed(device: Device, victim: Path) -> None:
    device.file.symlink_to(victim / "app.conf")
    refused(device, "is a link: links are not followed")


def test_a_link_on_the_way_is_not_followed(device: Device, victim: Path) -> None:
    device.file.parent.rmdir()
    device.file.parent.symlink_to(victim)
    refused(device, "is a link or no folder")


def test_a_link_further_up_is_not_followed(device: Device, victim: Path) -> None:
    (device.root / "etc").rename(device.root / "real")
    (device.root / "etc").symlink_to("real")
    refused(device, "/etc is a link or no folder")


def test_a_hard_link_is_not_replaced(device: Device, victim: Path) -> None:
    os.link(victim / "app.conf", device.file)
    refused(device, "has other names")


def test_a_pipe_is_not_waited_for(device: Device) -> None:
    os.mkfifo(device.file)
    refused(device, "is not a plain file")


def test_a_socket_is_not_replaced(device: Device) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(device.file.parent, os.O_PATH)
        one.bind(f"/proc/self/fd/{folder}/app.conf")
        os.close(folder)
        refused(device, "is not a plain file")


def test_a_folder_is_not_replaced(device: Device) -> None:
    device.file.mkdir()
    refused(device, "is not a plain file")


def test_a_device_is_not_opened(device: Device) -> None:
    os.mknod(device.file, 0o600 | 0o020000, os.makedev(1, 3))
    refused(device, "is not a plain file")


def test_a_program_that_runs_as_another_is_not_replaced(device: Device) -> None:
    device.file.write_text("x")
    device.file.chmod(0o4755)
    refused(device, "setuid")


def test_a_file_too_large_to_keep_is_not_replaced(device: Device) -> None:
    device.file.write_bytes(b"x" * (1 << 20) + b"x")
    refused(device, "more than 1048576 bytes")


def test_a_missing_folder_is_not_made(device: Device) -> None:
    device.file.parent.rmdir()
    refused(device, "there is no folder /etc/app")


def test_what_lies_in_the_way_of_the_new_file_is_not_written_through(device: Device, victim: Path) -> None:
    """The hidden name beside the destination is known to everybody who may write to the folder."""
    fresh = device.file.with_name(f".tidegate-{hashlib.sha256(b'app.conf').hexdigest()[:16]}")
    for plant in (lambda: fresh.symlink_to(victim / "app.conf"), lambda: os.link(victim / "app.conf", fresh)):
        plant()
        device.runs("1", "level = 1")
        assert device.file.read_text() == "level = 1"
        device.payload.switch("app", None)


def test_a_new_file_is_new_or_not_made(tmp_path: Path, victim: Path) -> None:
    """Also when somebody plants a link just after the name was found free."""
    planted = tmp_path / "planted"
    for plant in (lambda: planted.symlink_to(victim / "app.conf"), lambda: os.link(victim / "app.conf", planted)):
        plant()
        with pytest.raises(FileExistsError):
            RealFiles().create(planted, b"level = 1", 0o644, None)
        planted.unlink()


def test_a_user_who_keeps_swapping_the_folder_for_a_link_gets_nothing_written_elsewhere(
    device: Device, victim: Path
) -> None:
    one, two = device.staged("1", "level = 1"), device.staged("2", "level = 2")
    folder, aside = device.file.parent, device.file.parent.with_name("aside")
    stop, swaps = threading.Event(), 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            folder.rename(aside)
            folder.symlink_to(victim)
            folder.unlink()
            aside.rename(folder)
            swaps += 1

    hostile = threading.Thread(target=swap)
    hostile.start()
    outcomes = set()
    try:
        for number in range(300):
            try:
                device.payload.switch("app", (one, two)[number % 2])
                outcomes.add("put")
            except (Refused, OSError, NotTaken):
                outcomes.add("refused")
    finally:
        stop.set()
        hostile.join()
    assert (outcomes, swaps > 100) == ({"put", "refused"}, True)
    device.payload.switch("app", one)
    assert (device.file.read_text(), device.unsettled()) == ("level = 1", "")


# -- a world that does not give way --------------------------------------------------------------------------------


def tool(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def detach(mounted: Path) -> None:
    """Lazily: also where something has a file open there, nothing of a test is left mounted."""
    tool("umount", "--lazy", str(mounted))


def held_out(device: Device, words: str) -> None:
    """The switch fails, nothing has changed, nobody was told; and afterwards it works."""
    one = device.payload.facts("app").running
    told = list(device.workload.told)
    two = device.staged("2", "level = 2")
    with pytest.raises(OSError, match=words):
        device.payload.switch("app", two)
    assert (device.file.read_text(), device.payload.facts("app").running) == ("level = 1", one)
    assert [path.name for path in device.file.parent.glob(".tidegate-*")] == []
    assert (device.unsettled(), device.workload.told) == ("", told)


@pytest.fixture
def mounted(device: Device) -> Iterator[Device]:
    """The destination's folder on a file system of its own, of a hundred kilobytes."""
    tool("mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(device.file.parent))
    try:
        yield device
    finally:
        detach(device.file.parent)


def test_a_read_only_file_system_is_named_with_what_to_do(mounted: Device) -> None:
    mounted.runs("1", "level = 1")
    tool("mount", "-o", "remount,ro", str(mounted.file.parent))
    held_out(mounted, "ReadWritePaths=/etc/app")
    tool("mount", "-o", "remount,rw", str(mounted.file.parent))
    mounted.runs("2", "level = 2")


def test_a_full_disk_leaves_the_old_file(mounted: Device) -> None:
    mounted.runs("1", "level = 1")
    filler = mounted.file.parent / "filler"
    fill(filler)
    held_out(mounted, "No space left on device")
    filler.unlink()
    mounted.runs("2", "level = 2")


def fill(filler: Path) -> None:
    with pytest.raises(OSError, match="No space left"), filler.open("ab") as file:
        file.write(b"x" * 200_000)
        file.flush()


def beside(device: Device) -> list[str]:
    return sorted(path.name for path in device.file.parent.iterdir() if path.name != "filler")


def test_going_back_needs_no_room(mounted: Device) -> None:
    """The disk of the destination fills up while the version is on trial; the file is as it was, mode and all."""
    one = mounted.runs("1", "level = 1" * 1000, mode="0640")
    mounted.tries("2", "level = 2" * 1000, mode="0600")
    fill(mounted.file.parent / "filler")
    mounted.payload.restore("app", one)
    assert (mounted.file.read_text(), mounted.file.stat().st_mode & 0o777) == ("level = 1" * 1000, 0o640)
    assert (mounted.unsettled(), mounted.workload.told[-1]) == ("", "level = 1" * 1000)
    mounted.commits()
    assert beside(mounted) == ["app.conf"]


def test_going_back_to_what_was_there_before_the_first_version_needs_no_room(mounted: Device) -> None:
    mounted.file.write_text("from before" * 1000)
    mounted.file.chmod(0o604)
    mounted.tries("1", "level = 1", mode="0600")
    fill(mounted.file.parent / "filler")
    mounted.payload.restore("app", None)
    assert (mounted.file.read_text(), mounted.file.stat().st_mode & 0o777) == ("from before" * 1000, 0o604)
    mounted.payload.forget("app", ())
    assert (beside(mounted), mounted.payload.names()) == (["app.conf"], ())


def test_going_back_from_a_removal_or_to_another_destination_needs_no_room(mounted: Device) -> None:
    one = mounted.runs("1", "level = 1" * 1000)
    (mounted.root / "srv").mkdir()
    for switch in (
        lambda: mounted.tries("2", "level = 2", place="/srv/app.conf"),
        lambda: mounted.payload.switch("app", None),
    ):
        switch()
        assert not mounted.file.exists()
        fill(mounted.file.parent / "filler")
        mounted.payload.restore("app", one)
        assert (mounted.file.read_text(), mounted.unsettled()) == ("level = 1" * 1000, "")
        mounted.commits()
        (mounted.file.parent / "filler").unlink()
    assert (beside(mounted), list((mounted.root / "srv").iterdir())) == (["app.conf"], [])


def test_what_was_edited_by_hand_needs_no_room_to_become_the_signed_file_again(mounted: Device) -> None:
    one = mounted.runs("1", "level = 1" * 1000)
    mounted.file.write_text("by hand")
    mounted.tries("2", "level = 2")
    fill(mounted.file.parent / "filler")
    mounted.payload.restore("app", one)
    assert (mounted.file.read_text(), mounted.unsettled()) == ("level = 1" * 1000, "")


def test_what_others_put_in_place_of_the_kept_file_is_not_put_there(device: Device, victim: Path) -> None:
    one = device.runs("1", "level = 1")
    for plant in (
        lambda kept: kept.write_text("planted"),
        lambda kept: (kept.unlink(), kept.symlink_to(victim / "app.conf")),
        lambda kept: (kept.unlink(), os.link(victim / "app.conf", kept)),
        lambda kept: kept.unlink(),
    ):
        device.tries("2", "level = 2")
        plant(next(device.file.parent.glob(".tidegate-*.back")))  # type: ignore[no-untyped-call]
        device.payload.restore("app", one)
        assert device.file.read_text() == "level = 1"
        device.commits()
    assert beside(device) == ["app.conf"]


def test_a_workload_that_has_ended_on_trial_is_said_and_after_the_commit_its_owners(device: Device) -> None:
    device.runs("1", "level = 1")
    device.tries("2", "level = 2")
    device.workload.over = "app.service was active before and is inactive now"
    assert device.unsettled() == "app.service was active before and is inactive now"
    device.commits()
    assert device.unsettled() == ""


def test_an_immutable_file_is_left_as_it_is(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.runs("1", "level = 1")
    tool("chattr", "+i", str(device.file))
    try:
        held_out(device, "it is immutable")
    finally:
        tool("chattr", "-i", str(device.file))
    device.runs("2", "level = 2")


def test_a_file_that_is_a_mount_point_is_left_as_it_is(device: Device) -> None:
    other = device.root / "other"
    other.write_text("level = 1")
    device.runs("1", "level = 1")
    tool("mount", "--bind", str(other), str(device.file))
    try:
        held_out(device, "it is a mount point")
    finally:
        detach(device.file)
    device.runs("2", "level = 2")


def test_without_a_destination_workloads_open_it_below_current(device: Device) -> None:
    device.runs("1", "level = 1", place="")
    current = device.root / "state/configs/app/current"
    assert (current / "app.conf").read_text() == "level = 1"
    assert current.stat().st_mode & 0o055 == 0o055
    assert device.payload.artifact("app") == current.resolve()


def test_a_program_is_told_instead_of_a_unit(device: Device) -> None:
    release = device.staged("1", "level = 1", reload=ProgramReload(("/usr/sbin/app", "-s", "reload")))
    device.payload.switch("app", release)
    assert device.workload.told == ["level = 1"]
