"""Bodies as people send them, by the operation's name: shown in the OpenAPI document, and sent by a test
(tests/api/test_examples.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UPLOAD = "0123456789abcdef0123456789abcdef"

BODIES: Mapping[str, Mapping[str, Any]] = {
    "sessions.create": {"sign in": {"name": "admin", "password": "correct horse battery staple"}},
    "me.change_password": {"change": {"current": "correct horse battery staple", "password": "another long sentence"}},
    "me.begin_second_factor": {"an authenticator": {"password": "correct horse battery staple"}},
    "operators.create": {"a password is made": {"name": "ada", "roles": [{"role": "operator", "fleet": "default"}]}},
    "operators.set_roles": {"one role for all fleets": {"roles": [{"role": "viewer"}]}},
    "api_keys.create": {"for a pipeline": {"name": "ci", "role": "operator", "expires_days": 90}},
    "roles.create": {
        "rollouts without approval": {
            "name": "shift-lead",
            "permissions": ["devices.read", "groups.read", "rollouts.read", "rollouts.write"],
            "description": "Starts and halts, approves nothing.",
        }
    },
    "roles.replace": {"devices only": {"permissions": ["devices.read"], "description": "Looks on."}},
    "fleets.create": {"another trust domain": {"name": "harbour", "interval_seconds": 60}},
    "settings.replace": {"two persons for each rollout": {"interval_seconds": 30, "four_eyes": True}},
    "devices.change_tags": {"move": {"put": {"site": "harbour"}, "remove": ["bench"]}},
    "devices.decommission": {"for good": {"confirm": "cam-1"}},
    "devices.recover": {"one hour": {}},
    "devices.hold": {"until a day": {"reason": "on the bench", "until": "2099-12-01T08:00:00Z"}},
    "devices.ask_log": {"its last 64 KiB": {"source": "syslog", "max_bytes": 65_536}},
    "freeze.begin": {"until released": {"reason": "holidays"}},
    "tokens.mint": {
        "ten devices of a site": {"uses": 10, "expires_in_seconds": 86_400, "tags": {"site": "harbour"}},
        "one device": {"device_name": "cam-1"},
    },
    "groups.create": {
        "named devices": {"name": "pier", "devices": ["cam-1", "cam-2"]},
        "a selector": {"name": "arm", "selector": 'arch == "arm64"'},
    },
    "groups.change": {"another name": {"name": "bench"}},
    "groups.add": {"one more": {"devices": ["cam-2"]}},
    "groups.remove": {"one less": {"devices": ["cam-1"]}},
    "groups.hold": {"until released": {"reason": "firmware under test"}},
    "artifacts.publish": {
        "a model": {
            "name": "vad",
            "version": "2.1",
            "files": [{"name": "vad.onnx", "upload": _UPLOAD}],
            "manifest": {"framework": "onnx", "license": "Apache-2.0"},
            "target_hardware": 'arch == "arm64"',
        }
    },
    "channels.move": {"only if nobody else moved it": {"version": "2", "reason": "soaked a week", "seen": "1"}},
    "sboms.attach": {"a sealed upload": {"upload": _UPLOAD}},
    "artifacts.withdraw": {"for good": {"reason": "wrong labels"}},
    "uploads.create": {"a file": {"file_name": "vad.onnx", "length": 1_048_576}},
    "rollouts.create": {
        "three waves": {
            "artifact": "vad",
            "version": "2.1",
            "target": {"all": True},
            "strategy": {
                "waves": [{"percent": "10"}, {"percent": "50"}, {"percent": "100", "approval": "manual"}],
                "soak_seconds": 3600,
                "max_failure_rate": "0.05",
            },
            "probes": [{"kind": "exec", "name": "check"}],
        }
    },
    "rollouts.preview": {"everything at once": {"artifact": "vad", "version": "2.1", "target": {"all": True}}},
    "rollouts.halt": {"say why": {"reason": "fan noise"}},
    "rollouts.resume": {"say why": {"reason": "fans replaced"}},
    "rollouts.approve": {"only what was seen": {"reason": "looks good", "generation": 7}},
    "rollouts.abort": {"go back": {"policy": "revert", "reason": "wrong labels"}},
}
