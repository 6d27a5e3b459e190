"""Enrollment: tokens for operators, the call of a device without a certificate, and the installer's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import structlog
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from tidegate.control.api.operations import Call, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.domain.fleets import DEFAULT_FLEET
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import enrollment, installer, limits, tokens, trust
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import TokenTerms, TokenView
from tidegate.errors import NotFound, Refused
from tidegate.ids import TokenId
from tidegate.wire.enrollment import Enroll, Enrolled
from tidegate.wire.operator import tokens as wire
from tidegate.wire.operator.common import MAX_TOTAL, Page

log = structlog.get_logger()


def _mint(call: Call) -> wire.Minted:
    body: wire.NewToken = call.body
    terms = TokenTerms(
        device_name=body.device_name,
        expires_in_seconds=body.expires_in_seconds,
        uses=body.uses,
        may_replace=body.may_replace,
        tags=body.tags,
        groups=body.groups,
    )
    return minted(call, body.device_name, lambda: tokens.mint(call.scope, call.node, terms))


def _list(call: Call) -> Page[wire.TokenInfo]:
    query: wire.TokenQuery = call.query
    position = decode_cursor(query.cursor, int)
    found = tokens.listed(
        call.scope,
        call.node,
        live=query.live,
        before=cast("TokenId", position[0]) if position else None,
        limit=query.limit,
        offset=query.offset,
    )
    cursor = encode_cursor(int(found.next_before)) if found.next_before is not None else None
    return Page(tuple(_info(one) for one in found.items), min(found.total, MAX_TOTAL), cursor)


def _get(call: Call) -> wire.TokenInfo:
    return _info(tokens.get(call.scope, call.node, TokenId(call.integer("token"))))


def _revoke(call: Call) -> wire.TokenInfo:
    return _info(tokens.revoke(call.scope, call.node, TokenId(call.integer("token"))))


def minted(call: Call, device_name: str | None, mint: Callable[[], tokens.Minted]) -> wire.Minted:
    """A new token with the command to paste. The command comes first: a secret that cannot be shown is not made."""
    command = installer.command(call.scope, call.node, device_name)
    made = mint()
    return wire.Minted(
        id=made.view.id,
        secret=made.secret,
        recovers=made.recovers,
        token=_info(made.view),
        installer=wire.InstallerInfo(
            command=command.text,
            installer_sha256=command.installer_sha256,
            agent_sha256=command.agent_sha256,
            server_ca_sha256=command.server_ca_sha256,
            root_sha256=command.root_sha256,
        ),
    )


def _info(view: TokenView) -> wire.TokenInfo:
    return wire.TokenInfo(
        id=view.id,
        state=view.state,
        device_name=view.device_name,
        may_replace=view.may_replace,
        uses_allowed=view.uses_allowed,
        uses_left=max(0, view.uses_allowed - view.uses_spent),
        tags=dict(view.tags),
        groups=view.groups,
        created_at=view.created_at,
        created_by=view.created_by,
        expires_at=view.expires_at,
        revoked_at=view.revoked_at,
        enrolled=view.enrolled,
    )


def _enroll(call: Call) -> Enrolled:
    """Failures are counted by address and refused beyond a limit; a device that succeeds costs nothing."""
    node, body = call.node, cast("Enroll", call.body)
    limit, key = node.limits.enroll_by_address, limits.address_key(call.client)
    limit.check(key, node.clock.monotonic())
    try:
        given = enrollment.enroll(node, body)
    except Refused as error:
        limit.failed(key, node.clock.monotonic())
        log.warning("enrollment refused", kind=error.type, device=body.device, client=call.client)
        raise
    with node.db.read() as tx:
        chain = trust.root_chain(tx, given.device.fleet_id)
    return Enrolled(
        device=given.device.name,
        fleet=given.device.fleet,
        certificate_chain_pem=given.certificate_pem,
        ca_bundle_pem=node.keyring.server_ca_pem().decode("ascii"),
        channel_url=node.settings.effective_channel_url,
        root_chain=chain,
        interval_seconds=given.interval_seconds,
    )


async def _script(_request: Request, _scope: Scope, _node: Node) -> Response:
    return _file(await run_sync(installer.script), "text/x-shellscript")


async def _program(_request: Request, _scope: Scope, _node: Node) -> Response:
    return _file(await run_sync(installer.program), "application/zip")


async def _root(request: Request, _scope: Scope, node: Node) -> Response:
    fleet = request.query_params.get("fleet", DEFAULT_FLEET)
    return Response(await run_sync(installer.root, node, fleet), media_type="application/json")


async def _server_ca(_request: Request, _scope: Scope, node: Node) -> Response:
    return Response(await run_sync(node.keyring.server_ca_pem), media_type="application/x-pem-file")


def _file(path: Path, media_type: str) -> Response:
    if not path.is_file():
        raise NotFound(f"cannot find {path.name} on this node")
    return FileResponse(path, media_type=media_type)


OPERATIONS = (
    Operation(
        method="POST", path="/v1/enroll", permission="", public=True, tag="enrollment", handler=_enroll,
        summary="Enroll a device; the token in the body is the authority", body=Enroll, answer=Enrolled, status=201,
    ),
    Operation(
        name="tokens.mint",
        method="POST", path="/v1/tokens", permission="tokens.write", tag="enrollment", handler=_mint,
        summary="Mint an enrollment token", body=wire.NewToken, answer=wire.Minted, status=201, secret_answer=True,
    ),
    Operation(
        method="GET", path="/v1/tokens", permission="devices.read", tag="enrollment", handler=_list,
        summary="List enrollment tokens", query=wire.TokenQuery, answer=Page[wire.TokenInfo],
    ),
    Operation(
        method="GET", path="/v1/tokens/{token}", permission="devices.read", tag="enrollment", handler=_get,
        summary="One enrollment token and the devices it enrolled", answer=wire.TokenInfo,
    ),
    Operation(
        name="tokens.revoke",
        method="DELETE", path="/v1/tokens/{token}", permission="tokens.write", tag="enrollment", handler=_revoke,
        summary="Revoke an enrollment token", answer=wire.TokenInfo,
    ),
)  # fmt: skip


def for_new_devices(call: Operation | RawRoute) -> bool:
    """Whether a device without a certificate, or its installer, makes this call."""
    return call.public and call.tag == "enrollment"


ROUTES = tuple(
    RawRoute(
        method="GET", path=f"/install/{name}", permission="", public=True, tag="enrollment", endpoint=endpoint,
        summary=summary, media_type=media_type,
    )
    for name, endpoint, summary, media_type in (
        (installer.SCRIPT, _script, "The installer", "text/x-shellscript"),
        (installer.PROGRAM, _program, "The agent in one file", "application/zip"),
        ("agent.pyz", _program, "The agent in one file, under its short name", "application/zip"),
        ("root.json", _root, "The fleet's current trust root, signed", "application/json"),
        ("server-ca.pem", _server_ca, "The CA that signs this node's serving certificate", "application/x-pem-file"),
    )
)  # fmt: skip
