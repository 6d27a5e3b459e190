"""Typed operations: the operator API as data, and how one request is carried out (SPEC section 12 and 13).

An `Operation` says everything about one call: where, who may, what goes in, what comes out. Routes, OpenAPI and the
reference are made from the same table, and the permission walk test reads it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from tidegate.control import problems
from tidegate.control.domain.access import NOBODY, Identity, Scope
from tidegate.control.problems import respond
from tidegate.control.services import idempotency, sessions
from tidegate.control.services.node import Node
from tidegate.errors import (
    FieldError,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Refused,
    TidegateError,
    TooLarge,
    Unavailable,
)
from tidegate.wire.operator.common import ListQuery

MAX_BODY_BYTES = 1 << 20
#: Of a body that anybody may send.
PUBLIC_BODY_BYTES = 64 << 10
BODY_SECONDS = 30
#: Threads for what needs no sign-in, and how many requests may wait for one: a flood of them holds up nothing else.
PUBLIC_THREADS = 8
PUBLIC_WAITING = 200
IDEMPOTENCY_KEY = "idempotency-key"
_JSON = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked: `scope` has the operation's permission, `query` and `body` have the declared types.

    `identity` is None and `scope` may do nothing where the operation is public. `client` is the peer's address.
    """

    node: Node
    scope: Scope
    identity: Identity | None
    path: dict[str, str]
    query: Any
    body: Any
    client: str
    user_agent: str

    def integer(self, name: str) -> int:
        """A part of the path as a number; what is no number is not found."""
        value = self.path[name]
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise NotFound(f"cannot find {name} {value[:64]}")
        return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the API. `permission` is empty for what anybody signed in may do, `public` for what needs no sign-in.

    `answer` None means 204. `secret_answer`: the answer shows a secret once and is never stored for replays. `name`:
    what clients call it, such as ``devices.release``; empty: what names.py makes of method and path.
    """

    method: str
    path: str
    permission: str
    summary: str
    handler: Callable[[Call], Any]
    tag: str
    query: type | None = None
    body: type | None = None
    answer: Any = None
    status: int = 200
    secret_answer: bool = False
    public: bool = False
    name: str = ""

    @property
    def creates(self) -> bool:
        return self.method == "POST" and self.status == 201

    @property
    def body_bytes(self) -> int:
        """The largest body accepted; 0: none is read."""
        if self.body is None:
            return 0
        return PUBLIC_BODY_BYTES if self.public else MAX_BODY_BYTES


RawEndpoint = Callable[[Request, Scope, Node], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRoute:
    """A call that streams: its endpoint reads and writes by itself, who may is declared and checked as above.

    `bounded_by` names what bounds the body that it reads; empty: it reads none. `media_type` is of the answer, or
    several with commas;
    `answer` is its type where that is JSON of ours. `query` is what the endpoint itself decodes. `name` as above.
    """

    method: str
    path: str
    permission: str
    summary: str
    endpoint: RawEndpoint
    tag: str
    media_type: str = "application/octet-stream"
    query: type | None = None
    answer: Any = None
    status: int = 200
    public: bool = False
    bounded_by: str = ""
    name: str = ""


@dataclass(slots=True)
class _Path:
    """The methods of one path, so that any other is answered 405 with all that are allowed."""

    node: Node
    public_threads: anyio.CapacityLimiter
    calls: dict[str, Operation | RawRoute] = field(default_factory=dict)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        try:
            call = self.calls.get(method)
            if call is None:
                allowed = tuple(sorted({*self.calls, "HEAD"} if "GET" in self.calls else self.calls))
                raise MethodNotAllowed(f"cannot {request.method} {request.url.path}", allowed)
            if isinstance(call, RawRoute):
                scope, _ = await _authority(self.node, call, request)
                if call.query is None:
                    decode_query(None, request)  # refuses every name
                return await call.endpoint(request, scope, self.node)
            return await _carry_out(self.node, call, request, self._threads(call))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001 - the edge: every error becomes a problem, the unforeseen ones logged
            return respond(problems.understood(error))

    def _threads(self, call: Operation) -> anyio.CapacityLimiter | None:
        """Where the handler runs; None: among everybody's threads."""
        if not call.public:
            return None
        if self.public_threads.statistics().tasks_waiting >= PUBLIC_WAITING:
            raise Unavailable("cannot answer for now: too many ask at once", retry_after_seconds=5)
        return self.public_threads


def routes(node: Node, calls: Iterable[Operation | RawRoute]) -> list[BaseRoute]:
    """Starlette routes for these calls; literal paths come before those with parameters."""
    paths: dict[str, _Path] = {}
    public_threads = anyio.CapacityLimiter(PUBLIC_THREADS)
    for call in calls:
        path = paths.setdefault(call.path, _Path(node, public_threads))
        if call.method in path.calls:
            raise ValueError(f"{call.method} {call.path} is declared twice")
        path.calls[call.method] = call
    ordered = sorted(paths, key=lambda path: [(part.startswith("{"), part) for part in path.split("/")])
    return [Route(path, paths[path]) for path in ordered]


async def _authority(node: Node, call: Operation | RawRoute, request: Request) -> tuple[Scope, Identity | None]:
    """Who asks, and what they may in the fleet they ask for; checked against the permission declared."""
    if call.public:
        return NOBODY, None
    fleets = request.query_params.getlist("fleet")
    if len(fleets) > 1:
        raise Invalid("cannot accept the query: fleet is given twice", (FieldError("/fleet", "is given twice"),))
    header = request.headers.get("authorization", "")
    identity = await anyio.to_thread.run_sync(sessions.authenticate, node, header)
    scope = await anyio.to_thread.run_sync(sessions.scope_in, node, identity, fleets[0] if fleets else None)
    if call.permission:
        scope.require(call.permission)
    return scope, identity


async def _carry_out(
    node: Node, operation: Operation, request: Request, threads: anyio.CapacityLimiter | None
) -> Response:
    scope, identity = await _authority(node, operation, request)
    raw = await read_body(request, operation.body_bytes) if operation.body is not None else b""
    call = Call(
        node=node,
        scope=scope,
        identity=identity,
        path={name: str(value) for name, value in request.path_params.items()},
        query=decode_query(operation.query, request),
        body=_body(operation, request, raw),
        client=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", "")[:256],
    )
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None or not operation.creates or identity is None:
        answer = await anyio.to_thread.run_sync(operation.handler, call, limiter=threads)
        return _answer(operation, b"" if operation.answer is None else _JSON.encode(answer))
    said = "\n".join((operation.method, request.url.path, scope.fleet, request.url.query)).encode() + b"\n" + raw
    return await anyio.to_thread.run_sync(_once, operation, call, key, hashlib.sha256(said).hexdigest())


def _once(operation: Operation, call: Call, key: str, digest: str) -> Response:
    """Carry out a creating call at most once per actor, fleet and Idempotency-Key; asked again, say the same again."""
    stored = idempotency.begin(call.node, call.scope, key, digest)
    if stored is not None:
        return _answer(operation, stored, replayed=True)
    try:
        answer = operation.handler(call)
    except Exception as error:
        # What the database refuses it refuses whole; after a lost one, or the unforeseen, nobody knows what was done.
        if isinstance(error, TidegateError) or isinstance(problems.understood(error), Refused):
            idempotency.forget(call.node, call.scope, key)
        raise
    body = _JSON.encode(answer)
    kept = None if operation.secret_answer else body
    subject = str(getattr(answer, "id", ""))
    idempotency.finish(call.node, call.scope, key, status=operation.status, body=kept, subject=subject)
    return _answer(operation, body)


def _answer(operation: Operation, body: bytes, *, replayed: bool = False) -> Response:
    headers = {"cache-control": "no-store"} | ({"idempotency-replayed": "true"} if replayed else {})
    if operation.answer is None:
        return Response(status_code=204, headers=headers)
    return Response(body, operation.status, headers, "application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `limit` bytes.
        Malformed: it did not arrive within `BODY_SECONDS`.
    """
    too_large = TooLarge(f"cannot accept a body of more than {limit} bytes")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as deadline:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    if deadline.cancelled_caught:
        raise Malformed(f"cannot wait longer than {BODY_SECONDS} seconds for the body")
    return bytes(body)


def decode_query(kind: type | None, request: Request) -> Any:
    """The query as a `kind`, without the fleet, which is read before; None takes none.

    Raises:
        Invalid: a name given twice or unknown, or a value that breaks its rule.
    """
    given = [(name, value) for name, value in request.query_params.multi_items() if name != "fleet"]
    names = [name for name, _ in given]
    # Counted in one go: there is room for thousands of names in a query, and anybody may send one.
    wrong = [(name, "is given twice") for name, count in sorted(Counter(names).items()) if count > 1]
    if kind is None:
        wrong += [(name, "is unknown") for name in names]
    if wrong:
        name, rule = wrong[0]
        raise Invalid(f"cannot accept the query: {name} {rule}", (FieldError(f"/{name}", rule),))
    if kind is None:
        return None
    try:
        query: Any = msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise problems.invalid_from(error, "query") from error
    if isinstance(query, ListQuery) and query.cursor and query.offset:
        rule = "must be left out where a cursor is given"
        raise Invalid(f"cannot accept the query: offset {rule}", (FieldError("/offset", rule),))
    return query


def _body(operation: Operation, request: Request, raw: bytes) -> Any:
    if operation.body is None:
        return None
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Malformed("cannot read the body: its Content-Type must be application/json")
    problems.refuse_nul(raw)
    try:
        return msgspec.json.decode(raw, type=operation.body)
    except msgspec.ValidationError as error:
        raise problems.invalid_from(error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"cannot read the body as JSON: {error}") from error


def operations_of(modules: Sequence[Any]) -> list[Operation | RawRoute]:
    """Everything that these modules declare as `OPERATIONS` and `ROUTES`."""
    return [call for module in modules for name in ("OPERATIONS", "ROUTES") for call in getattr(module, name, ())]
