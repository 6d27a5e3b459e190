"""What clients call an operation: ``rollouts.halt``, from its method and path unless the table says otherwise.

The same name is the operationId of the OpenAPI document (``rollouts_halt``) and the method of the Python client
(``client.rollouts.halt``), so it stays what it is once released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate.control.api.operations import Operation, RawRoute

Call = Operation | RawRoute

_ON_ONE = {"GET": "get", "PUT": "replace", "PATCH": "change", "DELETE": "delete", "POST": "create"}
_ON_ALL = _ON_ONE | {"GET": "list"}
_BELOW = {"PUT": "set_", "PATCH": "change_", "DELETE": "delete_", "POST": ""}


@dataclass(frozen=True, slots=True)
class Name:
    """`noun` is an attribute of the client, `verb` its method."""

    noun: str
    verb: str

    @property
    def operation_id(self) -> str:
        return f"{self.noun}_{self.verb}"

    def __str__(self) -> str:
        return f"{self.noun}.{self.verb}"


def names(calls: Iterable[Call]) -> Mapping[tuple[str, str], Name]:
    """The name of each call by (method, path).

    Raises:
        ValueError: two calls have the same name; one of them must say another in the table.
    """
    calls = tuple(calls)
    methods = Counter(call.path for call in calls)
    found: dict[tuple[str, str], Name] = {}
    taken: dict[Name, tuple[str, str]] = {}
    for call in calls:
        key = (call.method, call.path)
        name = _declared(call.name) if call.name else _made(call, alone=methods[call.path] == 1)
        if name in taken:
            raise ValueError(f"{name} is the name of both {taken[name]} and {key}: give one of them a name= of its own")
        taken[name] = key
        found[key] = name
    return found


def _declared(text: str) -> Name:
    noun, _, verb = text.partition(".")
    return Name(noun, verb)


def _made(call: Call, *, alone: bool) -> Name:
    """From the path: what stands first is the noun, what follows it, with the method, the verb.

    `alone`: the path has no other method, so that a GET needs no word to tell it from them.
    """
    parts = [part for part in call.path.split("/") if part and part != "v1"]
    noun = _word(parts[0])
    rest = [part for part in parts[1:] if not part.startswith("{")]
    if not rest:
        # One of many has a name or number in its path; a noun in the singular is one of its kind.
        one = len(parts) > 1 or not noun.endswith("s")
        return Name(noun, (_ON_ONE if one else _ON_ALL)[call.method])
    words = "_".join(_word(part) for part in rest)
    if words.endswith("s") and (call.path.endswith("}") or (call.method == "POST" and not alone)):
        return Name(noun, f"{_ON_ONE[call.method]}_{words[:-1]}")  # one of many below one: devices.get_log
    plain = call.method == "GET" and (alone or words.endswith("s"))
    return Name(noun, ("" if plain else _BELOW.get(call.method, "get_")) + words)


def _word(part: str) -> str:
    return part.replace("-", "_").replace(".", "_")
