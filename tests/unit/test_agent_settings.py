"""Settings of the agent: what wins, what is refused, and what holds after a mistake."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tidegate.agent import settings
from tidegate.agent.own import own_paths
from tidegate.agent.settings import Loaded, Source
from tidegate.errors import Invalid
from tidegate.wire.config import below


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "agent.d").mkdir()
    (tmp_path / "agent.toml").write_text(f'state_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n')
    return Source(tmp_path / "agent.toml", {"HOME": str(tmp_path)}, {})


def fragment(source: Source, name: str, text: str) -> None:
    (source.fragments / name).write_text(text)


def load(source: Source) -> Loaded:
    return settings.load(source, uid=1000)


def test_everything_is_refused_by_default(source: Source) -> None:
    assert load(source).settings.allow == settings.Allow()


def test_later_sources_win(source: Source) -> None:
    source.file.write_text(source.file.read_text() + "request_timeout_seconds = 10\nbackoff_max_seconds = 10\n")
    fragment(source, "10.toml", "request_timeout_seconds = 20\nbackoff_max_seconds = 20\nkeep_free_bytes = 20\n")
    fragment(source, "20.toml", "request_timeout_seconds = 30\n")
    environment = {"TIDEGATE_BACKOFF_MAX_SECONDS": "40", "TIDEGATE_KEEP_FREE_BYTES": "40"}
    found = load(Source(source.file, environment, {"keep_free_bytes": "50"})).settings
    assert (found.request_timeout_seconds, found.backoff_max_seconds, found.keep_free_bytes) == (30, 40, 50)


def test_allowlists_of_fragments_add_up(source: Source) -> None:
    fragment(source, "10.toml", '[allow]\nprobe_ports = [80]\n[allow.exec.a]\nargv = ["/bin/a"]\n')
    fragment(source, "20.toml", '[allow]\nprobe_ports = [80, 81]\n[allow.exec.b]\nargv = ["/bin/b"]\nuser = "web"\n')
    allow = load(source).settings.allow
    assert allow.probe_ports == (80, 81)
    assert {name: entry.argv for name, entry in allow.exec.items()} == {"a": ("/bin/a",), "b": ("/bin/b",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("surprise = 1", "unknown field `surprise`"),
        ("[allow]\nprobe_prots = [1]", r"unknown field `probe_prots` - at `\$.allow`"),
        ("[allow]\nprobe_ports = [0]", "probe_ports"),
        ('[allow.exec.x]\nargv = "rm -rf"', "argv"),
        ("[allow.exec.x]\nargv = []", "argv"),
        ('[allow]\nreload_argvs = [["nginx", "-s", "reload"]]', "reload_argvs must start with an absolute path"),
        ('[allow]\ndestination_prefixes = ["/"]', "must not end with /"),
        ('[allow]\ndestination_prefixes = ["/etc/app/"]', "must not end with /"),
        ('[allow]\ndestination_prefixes = ["/etc/../root"]', "no part . or .."),
        ('[allow]\nunits = ["app"]', "units"),
        ('[allow]\nunits = ["-f.service"]', "units"),
        ('[allow.exec.x]\nargv = ["sh", "-c", "true"]', "absolute path"),
        ('[allow.exec.x]\nargv = ["/bin/sh"]\nshell = true', "unknown field `shell`"),
        ("keep_free_bytes = -1", "keep_free_bytes"),
        ('keep_free_bytes = "1"', "keep_free_bytes"),
        ('state_dir = "/elsewhere"', "state_dir belongs in agent.toml"),
        ("not toml", "10.toml"),
        ("\udcff", "10.toml"),
        ("x = 1\n" * 100_000, "larger than"),
    ],
)
def test_an_invalid_fragment_leaves_the_last_good_in_force(source: Source, text: str, words: str) -> None:
    fragment(source, "05.toml", "[allow]\nprobe_ports = [8080]\n")
    good = load(source)
    assert good.problem == ""
    (source.fragments / "10.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = load(source)
    assert found.settings == good.settings
    assert found.problem.startswith("cannot ")
    assert "last good settings stay in force" in found.problem
    with pytest.raises(Invalid, match=words):
        settings.load(Source(source.file, {"HOME": "/nonexistent"}, {"state_dir": f"{source.file.parent}/fresh"}), 1000)


def test_one_name_means_one_program(source: Source) -> None:
    load(source)
    fragment(source, "10.toml", '[allow.exec.a]\nargv = ["/bin/a"]\n')
    fragment(source, "20.toml", '[allow.exec.a]\nargv = ["/bin/b"]\n')
    assert "allow.exec.a is already defined" in load(source).problem


def test_a_broken_main_file_still_finds_the_last_good(source: Source) -> None:
    good = load(source)
    source.file.write_text(source.file.read_text() + "[[[")
    assert load(source).settings == good.settings


def test_flags_and_variables_hold_on_top_of_the_last_good(source: Source) -> None:
    load(source)
    fragment(source, "10.toml", "nonsense")
    found = load(Source(source.file, {"TIDEGATE_KEEP_FREE_BYTES": "7"}, {}))
    assert found.problem
    assert found.settings.keep_free_bytes == 7


def test_a_damaged_last_good_is_none(source: Source) -> None:
    load(source)
    (source.file.parent / "state" / settings.LAST_GOOD).write_text("{")
    fragment(source, "10.toml", "nonsense")
    with pytest.raises(Invalid, match=r"10\.toml"):
        load(source)


def test_files_that_everybody_may_write_are_refused(source: Source) -> None:
    load(source)
    fragment(source, "10.toml", "[allow]\nprobe_ports = [8080]\n")
    (source.fragments / "10.toml").chmod(0o666)
    found = load(source)
    assert "everybody may write" in found.problem
    assert found.settings.allow.probe_ports == ()


@pytest.mark.parametrize("variable", ["TIDEGATE_KEEP_FREE_BYTES", "TIDEGATE_REQUEST_TIMEOUT_SECONDS"])
def test_variables_are_checked(source: Source, variable: str) -> None:
    with pytest.raises(Invalid, match=f"cannot use {variable}: it must be a whole number"):
        load(Source(source.file, {variable: "many"}, {}))


def test_variables_cannot_widen_an_allowlist(source: Source) -> None:
    found = load(Source(source.file, {"TIDEGATE_ALLOW": "x", "TIDEGATE_PROBE_PORTS": "80"}, {}))
    assert found.settings.allow == settings.Allow()


def test_folders_without_root_and_with(tmp_path: Path) -> None:
    assert settings.default_folders({"HOME": "/home/a"}, 1000) == {
        "state_dir": "/home/a/.local/state/tidegate",
        "run_dir": "/home/a/.local/state/tidegate/run",
    }
    assert settings.default_folders({}, 0)["state_dir"] == "/var/lib/tidegate"
    assert settings.default_file({"TIDEGATE_CONFIG": "/x/y.toml"}, 0) == Path("/x/y.toml")
    assert settings.default_file({}, 0) == Path("/etc/tidegate/agent.toml")
    assert settings.default_file({"HOME": "/home/a"}, 1000) == Path("/home/a/.config/tidegate/agent.toml")


def test_changes_are_noticed(source: Source) -> None:
    found = load(source)
    assert not settings.changed(source, found)
    fragment(source, "10.toml", "")
    assert settings.changed(source, found)


def test_a_pipe_in_place_of_a_fragment_holds_nobody_up(source: Source) -> None:
    load(source)
    os.mkfifo(source.fragments / "10.toml")
    assert "10.toml: it is not a file" in load(source).problem


def test_a_fragment_that_cannot_be_looked_at_is_a_problem_not_an_end(source: Source) -> None:
    good = load(source)
    (source.fragments / "10.toml").symlink_to("10.toml")
    assert settings.changed(source, good)
    found = load(source)
    assert "cannot read" in found.problem
    assert not settings.changed(source, found)


def test_a_folder_that_everybody_may_write_to_gives_no_fragments(source: Source) -> None:
    load(source)
    fragment(source, "10.toml", "[allow]\nprobe_ports = [8080]\n")
    source.fragments.chmod(0o777)
    found = load(source)
    assert "everybody may put files there" in found.problem
    assert found.settings.allow.probe_ports == ()


def test_a_file_of_another_user_widens_nothing(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source)
    fragment(source, "10.toml", "[allow]\nprobe_ports = [8080]\n")
    if os.geteuid() == 0:
        os.chown(source.fragments / "10.toml", 12345, 12345)
    else:  # only root can give a file away; seen from another user, it is another's
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    found = load(source)
    assert "belongs to another user" in found.problem
    assert found.settings.allow.probe_ports == ()


def test_what_the_agent_is_made_of_is_known_to_it(source: Source) -> None:
    """Nothing is ever put there: settings, state, sockets, program, interpreter; under their own names and resolved."""
    own = own_paths(source, load(source).settings)
    folder = source.file.parent
    for path in (
        source.file,
        source.fragments,
        folder / "state",
        folder / "run",
        Path(sys.executable),
        Path(os.__file__).parent,
    ):
        assert str(path) in own
        assert os.path.realpath(path) in own
    assert {"/etc/tidegate", "/opt/tidegate", "/usr/local/bin/tidegate-agent"} <= set(own)
    for module in (settings, msgspec, site):
        assert any(below(str(module.__file__), path) for path in own), "no code that the agent runs"
    assert any(below(f"{site.getsitepackages()[0]}/every-start.pth", path) for path in own)
    assert "/" not in own
    assert "/etc" not in own


_ASKED = """
import json, sys
searched = [sys.executable, *sys.path]
sys.path += json.loads(sys.argv[1])
from pathlib import Path
from tidegate.agent import settings
from tidegate.agent.own import own_paths
source = settings.Source(file=Path(sys.argv[2]), environment={}, overrides={})
print(json.dumps([searched, own_paths(source, settings.Settings(state_dir="/s", run_dir="/r"))]))
"""


def test_what_the_interpreter_runs_is_the_agents_own_whether_it_is_there_or_not(source: Source) -> None:
    """Asked of the interpreter itself, as the installed program is started: of no virtual environment, with -I."""
    interpreter = os.path.realpath(sys.executable)
    asked = [interpreter, "-I", "-c", _ASKED, json.dumps([path for path in sys.path if path]), str(source.file)]
    said = subprocess.run(asked, capture_output=True, check=True, timeout=30).stdout
    (executable, *searched), own = json.loads(said)
    assert any(path.endswith(".zip") for path in searched)
    folder = Path(executable).parent
    for path in (executable, *searched, str(folder / "pyvenv.cfg"), str(folder.parent / "pyvenv.cfg")):
        assert any(below(path, one) for one in own), path
