"""Every call of the operator API, by noun. Written by `make client` from the operations; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from tidegate.client.answers import Download, Listing, Noun
from tidegate.client.connection import Connection, at
from tidegate.wire import config as config_wire
from tidegate.wire import descriptor as descriptor_wire
from tidegate.wire import device as device_wire
from tidegate.wire.operator import artifacts as artifacts_wire
from tidegate.wire.operator import audit as audit_wire
from tidegate.wire.operator import channels as channels_wire
from tidegate.wire.operator import common as common_wire
from tidegate.wire.operator import devices as devices_wire
from tidegate.wire.operator import fleets as fleets_wire
from tidegate.wire.operator import groups as groups_wire
from tidegate.wire.operator import logs as logs_wire
from tidegate.wire.operator import node as node_wire
from tidegate.wire.operator import people as people_wire
from tidegate.wire.operator import roles as roles_wire
from tidegate.wire.operator import rollouts as rollouts_wire
from tidegate.wire.operator import runs as runs_wire
from tidegate.wire.operator import sboms as sboms_wire
from tidegate.wire.operator import second_factor as second_factor_wire
from tidegate.wire.operator import settings as settings_wire
from tidegate.wire.operator import sheets as sheets_wire
from tidegate.wire.operator import tokens as tokens_wire
from tidegate.wire.operator import trust as trust_wire
from tidegate.wire.operator.common import Page


class ApiKeys(Noun):
    def create(
        self,
        *,
        name: str,
        role: str,
        every_fleet: bool = False,
        expires_days: int | None = None,
        idempotency_key: str = "",
    ) -> people_wire.ApiKeyCreated:
        """Create an API key, shown once.

        POST /v1/api-keys; needs `keys.manage`
        """
        return self._connection.call(
            people_wire.ApiKeyCreated,
            "POST",
            "/v1/api-keys",
            body=people_wire.NewApiKey(name=name, role=role, every_fleet=every_fleet, expires_days=expires_days),
            idempotency_key=idempotency_key,
        )

    def list(self) -> Listing[people_wire.ApiKeyInfo]:
        """API keys.

        GET /v1/api-keys; needs `keys.manage`
        """
        return self._listing(Page[people_wire.ApiKeyInfo], "/v1/api-keys", common_wire.ListQuery())

    def revoke(self, key: int) -> None:
        """Revoke an API key.

        DELETE /v1/api-keys/{key}; needs `keys.manage`
        """
        self._connection.call(type(None), "DELETE", at("/v1/api-keys/{}", key))


class Artifacts(Noun):
    def get(self, name: str, version: str) -> artifacts_wire.ArtifactDetail:
        """One version: files, manifest, where it runs.

        GET /v1/artifacts/{name}/{version}; needs `artifacts.read`
        """
        return self._connection.call(artifacts_wire.ArtifactDetail, "GET", at("/v1/artifacts/{}/{}", name, version))

    def list(
        self, *, search: str = "", name: str = "", state: Literal["available", "withdrawn", ""] = ""
    ) -> Listing[artifacts_wire.ArtifactSummary]:
        """Published versions, newest first.

        GET /v1/artifacts; needs `artifacts.read`
        """
        return self._listing(
            Page[artifacts_wire.ArtifactSummary],
            "/v1/artifacts",
            artifacts_wire.ListArtifacts(search=search, name=name, state=state),
        )

    def publish(
        self,
        *,
        name: str,
        version: str,
        files: Sequence[artifacts_wire.NewFile],
        kind: Literal["model", "container", "config", "os", "agent"] = "model",
        manifest: descriptor_wire.ModelManifest | None = None,
        target_hardware: str = "",
        requires: Sequence[device_wire.Requirement] = (),
        config: config_wire.ConfigOptions | None = None,
        signed: str | None = None,
        idempotency_key: str = "",
    ) -> artifacts_wire.ArtifactSummary:
        """Publish a version from sealed uploads.

        POST /v1/artifacts; needs `artifacts.publish`
        """
        return self._connection.call(
            artifacts_wire.ArtifactSummary,
            "POST",
            "/v1/artifacts",
            body=artifacts_wire.PublishArtifact(
                name=name,
                version=version,
                kind=kind,
                files=tuple(files),
                manifest=manifest,
                target_hardware=target_hardware,
                requires=tuple(requires),
                config=config,
                signed=signed,
            ),
            idempotency_key=idempotency_key,
        )

    def withdraw(
        self, name: str, version: str, *, reason: str, signed: str | None = None
    ) -> artifacts_wire.ArtifactSummary:
        """Take a version out of the signed metadata, for good.

        POST /v1/artifacts/{name}/{version}/withdraw; needs `artifacts.publish`
        """
        return self._connection.call(
            artifacts_wire.ArtifactSummary,
            "POST",
            at("/v1/artifacts/{}/{}/withdraw", name, version),
            body=artifacts_wire.WithdrawArtifact(reason=reason, signed=signed),
        )


class Audit(Noun):
    def export(self, *, node: bool = False, until: int | None = None) -> Download:
        """A chain as JSON lines with a verdict line; the same records always give the same bytes.

        GET /v1/audit/export; needs `audit.export`
        """
        return self._download("/v1/audit/export", audit_wire.ExportQuery(node=node, until=until))

    def key(self) -> audit_wire.AuditKey:
        """The public key that exports and checkpoints are signed with.

        GET /v1/audit/key; needs `audit.read`
        """
        return self._connection.call(audit_wire.AuditKey, "GET", "/v1/audit/key")

    def list(
        self,
        *,
        action: str = "",
        actor: str = "",
        subject: str = "",
        since: datetime | None = None,
        before: datetime | None = None,
        node: bool = False,
    ) -> Listing[audit_wire.AuditRecord]:
        """Audit records, the newest first.

        GET /v1/audit; needs `audit.read`
        """
        return self._listing(
            Page[audit_wire.AuditRecord],
            "/v1/audit",
            audit_wire.AuditQuery(action=action, actor=actor, subject=subject, since=since, before=before, node=node),
        )

    def sign_export(self, *, node: bool = False, until: int | None = None) -> audit_wire.ExportSignature:
        """Sign an export; the act is itself recorded.

        POST /v1/audit/export/signature; needs `audit.export`
        """
        return self._connection.call(
            audit_wire.ExportSignature,
            "POST",
            "/v1/audit/export/signature",
            query=audit_wire.ExportQuery(node=node, until=until),
        )

    def verify(self, *, node: bool = False) -> audit_wire.AuditVerification:
        """Verify a whole chain against its head and the signed checkpoints.

        GET /v1/audit/verify; needs `audit.read`
        """
        return self._connection.call(
            audit_wire.AuditVerification, "GET", "/v1/audit/verify", query=audit_wire.ChainQuery(node=node)
        )


class Channels(Noun):
    def delete(self, artifact: str, channel: str, *, reason: str) -> None:
        """Forget a channel; its history stays.

        DELETE /v1/channels/{artifact}/{channel}; needs `artifacts.publish`
        """
        self._connection.call(
            type(None),
            "DELETE",
            at("/v1/channels/{}/{}", artifact, channel),
            query=channels_wire.DeleteChannel(reason=reason),
        )

    def get(self, artifact: str, channel: str) -> channels_wire.ChannelInfo:
        """One channel: the version it points at.

        GET /v1/channels/{artifact}/{channel}; needs `artifacts.read`
        """
        return self._connection.call(channels_wire.ChannelInfo, "GET", at("/v1/channels/{}/{}", artifact, channel))

    def history(self, artifact: str, channel: str) -> Listing[channels_wire.ChannelMove]:
        """Who moved it when, from where to where and why.

        GET /v1/channels/{artifact}/{channel}/history; needs `artifacts.read`
        """
        return self._listing(
            Page[channels_wire.ChannelMove],
            at("/v1/channels/{}/{}/history", artifact, channel),
            common_wire.ListQuery(),
        )

    def list(self, *, artifact: str | None = None) -> Listing[channels_wire.ChannelInfo]:
        """Channels by artifact name.

        GET /v1/channels; needs `artifacts.read`
        """
        return self._listing(
            Page[channels_wire.ChannelInfo], "/v1/channels", channels_wire.ChannelQuery(artifact=artifact)
        )

    def move(
        self, artifact: str, channel: str, *, version: str, reason: str, seen: str | None = None
    ) -> channels_wire.ChannelInfo:
        """Make a channel point at a version, never a withdrawn one.

        PUT /v1/channels/{artifact}/{channel}; needs `artifacts.publish`
        """
        return self._connection.call(
            channels_wire.ChannelInfo,
            "PUT",
            at("/v1/channels/{}/{}", artifact, channel),
            body=channels_wire.MoveChannel(version=version, reason=reason, seen=seen),
        )


class Devices(Noun):
    def ask_log(
        self, device: str, *, source: str, max_bytes: int = 1048576, idempotency_key: str = ""
    ) -> logs_wire.LogRequestInfo:
        """Ask a device for the end of one of its log sources.

        POST /v1/devices/{device}/logs; needs `devices.write`
        """
        return self._connection.call(
            logs_wire.LogRequestInfo,
            "POST",
            at("/v1/devices/{}/logs", device),
            body=logs_wire.NewLogRequest(source=source, max_bytes=max_bytes),
            idempotency_key=idempotency_key,
        )

    def cancel_log(self, device: str, request: int) -> None:
        """Cancel a log request that waits.

        DELETE /v1/devices/{device}/logs/{request}; needs `devices.write`
        """
        self._connection.call(type(None), "DELETE", at("/v1/devices/{}/logs/{}", device, request))

    def change_tags(
        self, device: str, *, put: Mapping[str, str] | None = None, remove: Sequence[str] = ()
    ) -> devices_wire.DeviceDetailInfo:
        """Set and remove tags.

        PATCH /v1/devices/{device}/tags; needs `devices.write`
        """
        return self._connection.call(
            devices_wire.DeviceDetailInfo,
            "PATCH",
            at("/v1/devices/{}/tags", device),
            body=devices_wire.ChangeTags(put=dict(put or ()), remove=tuple(remove)),
        )

    def counts(self) -> devices_wire.DeviceCounts:
        """How many devices are online, offline, held.

        GET /v1/device-counts; needs `devices.read`
        """
        return self._connection.call(devices_wire.DeviceCounts, "GET", "/v1/device-counts")

    def decommission(self, device: str, *, confirm: str, stop_workloads: bool = False) -> None:
        """Decommission a device: refused from now on, told to wipe its key.

        POST /v1/devices/{device}/decommission; needs `devices.write`
        """
        self._connection.call(
            type(None),
            "POST",
            at("/v1/devices/{}/decommission", device),
            body=devices_wire.Decommission(confirm=confirm, stop_workloads=stop_workloads),
        )

    def export_sheet(self, *, selector: str | Literal[""] = "", group: str | Literal[""] = "") -> Download:
        """Devices with tags and static groups as CSV, which imports to the same.

        GET /v1/device-export; needs `devices.read`
        """
        return self._download("/v1/device-export", sheets_wire.ExportQuery(selector=selector, group=group))

    def get(self, device: str) -> devices_wire.DeviceDetailInfo:
        """One device.

        GET /v1/devices/{device}; needs `devices.read`
        """
        return self._connection.call(devices_wire.DeviceDetailInfo, "GET", at("/v1/devices/{}", device))

    def get_log(self, device: str, request: int) -> logs_wire.LogRequestInfo:
        """One log request.

        GET /v1/devices/{device}/logs/{request}; needs `devices.read`
        """
        return self._connection.call(logs_wire.LogRequestInfo, "GET", at("/v1/devices/{}/logs/{}", device, request))

    def hold(self, device: str, *, reason: str, until: datetime | None = None) -> devices_wire.HoldInfo:
        """Hold a device.

        PUT /v1/devices/{device}/hold; needs `devices.write`
        """
        return self._connection.call(
            devices_wire.HoldInfo,
            "PUT",
            at("/v1/devices/{}/hold", device),
            body=devices_wire.NewHold(reason=reason, until=until),
        )

    def import_sheet(
        self,
        data: bytes,
        *,
        dry_run: bool = False,
        unknown: Literal["refuse", "skip", "enroll"] = "refuse",
        expires_in_seconds: int | None = None,
    ) -> sheets_wire.ImportInfo:
        """Set tags and static groups of many devices from CSV: every line or none.

        POST /v1/device-import; needs `devices.write`
        """
        return self._connection.call(
            sheets_wire.ImportInfo,
            "POST",
            "/v1/device-import",
            query=sheets_wire.ImportQuery(dry_run=dry_run, unknown=unknown, expires_in_seconds=expires_in_seconds),
            body=data,
        )

    def list(
        self,
        *,
        state: Literal["active", "decommissioned", "all"] = "active",
        search: str = "",
        presence: Literal["online", "offline", "never", ""] = "",
        group: str | Literal[""] = "",
        selector: str | Literal[""] = "",
        tags: str = "",
        artifact: str | Literal[""] = "",
        version: str | Literal[""] = "",
        held: bool | None = None,
        drifted: bool = False,
    ) -> Listing[devices_wire.DeviceInfo]:
        """List devices.

        GET /v1/devices; needs `devices.read`
        """
        return self._listing(
            Page[devices_wire.DeviceInfo],
            "/v1/devices",
            devices_wire.DeviceQuery(
                state=state,
                search=search,
                presence=presence,
                group=group,
                selector=selector,
                tags=tags,
                artifact=artifact,
                version=version,
                held=held,
                drifted=drifted,
            ),
        )

    def log_bundle(self, device: str, request: int) -> Download:
        """The log, packed with gzip as the device sent it.

        GET /v1/devices/{device}/logs/{request}/bundle; needs `devices.write`
        """
        return self._download(at("/v1/devices/{}/logs/{}/bundle", device, request))

    def logs(self, device: str) -> Listing[logs_wire.LogRequestInfo]:
        """What was asked of a device's logs, the newest first.

        GET /v1/devices/{device}/logs; needs `devices.read`
        """
        return self._listing(Page[logs_wire.LogRequestInfo], at("/v1/devices/{}/logs", device), common_wire.ListQuery())

    def recover(
        self, device: str, *, expires_in_seconds: int | None = None, idempotency_key: str = ""
    ) -> tokens_wire.Minted:
        """Mint a token that gives the device a new key under the same record.

        POST /v1/devices/{device}/recover; needs `tokens.write`
        """
        return self._connection.call(
            tokens_wire.Minted,
            "POST",
            at("/v1/devices/{}/recover", device),
            body=tokens_wire.Recover(expires_in_seconds=expires_in_seconds),
            idempotency_key=idempotency_key,
        )

    def release(self, device: str) -> None:
        """Release a device.

        DELETE /v1/devices/{device}/hold; needs `devices.write`
        """
        self._connection.call(type(None), "DELETE", at("/v1/devices/{}/hold", device))

    def rollouts(self, device: str) -> Listing[rollouts_wire.AssignmentInfo]:
        """Assignments of one device, the newest first.

        GET /v1/devices/{device}/rollouts; needs `rollouts.read`
        """
        return self._listing(
            Page[rollouts_wire.AssignmentInfo], at("/v1/devices/{}/rollouts", device), common_wire.ListQuery()
        )

    def select(self, *, selector: str, device: str | Literal[""] = "") -> devices_wire.SelectionInfo:
        """How many devices a selector matches, and why one of them does not.

        GET /v1/device-selection; needs `devices.read`
        """
        return self._connection.call(
            devices_wire.SelectionInfo,
            "GET",
            "/v1/device-selection",
            query=devices_wire.SelectorQuery(selector=selector, device=device),
        )


class Fleets(Noun):
    def create(
        self, *, name: str, interval_seconds: int | None = None, idempotency_key: str = ""
    ) -> fleets_wire.FleetInfo:
        """Create a fleet with keys of its own (settings.manage for all fleets).

        POST /v1/fleets; needs `settings.manage`
        """
        return self._connection.call(
            fleets_wire.FleetInfo,
            "POST",
            "/v1/fleets",
            body=fleets_wire.NewFleet(name=name, interval_seconds=interval_seconds),
            idempotency_key=idempotency_key,
        )

    def list(self) -> fleets_wire.Fleets:
        """The fleets that one has a role in.

        GET /v1/fleets
        """
        return self._connection.call(fleets_wire.Fleets, "GET", "/v1/fleets")


class Freeze(Noun):
    def begin(self, *, reason: str, until: datetime | None = None) -> groups_wire.Freeze:
        """Freeze the fleet: nothing is served, no leave is given.

        PUT /v1/freeze; needs `rollouts.write`
        """
        return self._connection.call(
            groups_wire.Freeze, "PUT", "/v1/freeze", body=devices_wire.NewHold(reason=reason, until=until)
        )

    def end(self) -> None:
        """End the freeze.

        DELETE /v1/freeze; needs `rollouts.write`
        """
        self._connection.call(type(None), "DELETE", "/v1/freeze")

    def get(self) -> groups_wire.Freeze:
        """Whether the fleet is frozen.

        GET /v1/freeze; needs `devices.read`
        """
        return self._connection.call(groups_wire.Freeze, "GET", "/v1/freeze")


class Groups(Noun):
    def add(self, group: str, *, devices: Sequence[str]) -> groups_wire.Membership:
        """Put devices into a group.

        POST /v1/groups/{group}/add; needs `groups.write`
        """
        return self._connection.call(
            groups_wire.Membership,
            "POST",
            at("/v1/groups/{}/add", group),
            body=groups_wire.ChangeMembers(devices=tuple(devices)),
        )

    def change(self, group: str, *, name: str | None = None, selector: str | None = None) -> groups_wire.GroupInfo:
        """Rename a group, or change its selector.

        PATCH /v1/groups/{group}; needs `groups.write`
        """
        return self._connection.call(
            groups_wire.GroupInfo,
            "PATCH",
            at("/v1/groups/{}", group),
            body=groups_wire.ChangeGroup(name=name, selector=selector),
        )

    def create(
        self, *, name: str, devices: Sequence[str] = (), selector: str | None = None, idempotency_key: str = ""
    ) -> groups_wire.Membership:
        """Create a group from device names or a selector.

        POST /v1/groups; needs `groups.write`
        """
        return self._connection.call(
            groups_wire.Membership,
            "POST",
            "/v1/groups",
            body=groups_wire.NewGroup(name=name, devices=tuple(devices), selector=selector),
            idempotency_key=idempotency_key,
        )

    def delete(self, group: str) -> None:
        """Forget a group; its devices stay.

        DELETE /v1/groups/{group}; needs `groups.write`
        """
        self._connection.call(type(None), "DELETE", at("/v1/groups/{}", group))

    def get(self, group: str) -> groups_wire.GroupInfo:
        """One group.

        GET /v1/groups/{group}; needs `groups.read`
        """
        return self._connection.call(groups_wire.GroupInfo, "GET", at("/v1/groups/{}", group))

    def hold(self, group: str, *, reason: str, until: datetime | None = None) -> devices_wire.HoldInfo:
        """Hold a group.

        PUT /v1/groups/{group}/hold; needs `groups.write`
        """
        return self._connection.call(
            devices_wire.HoldInfo,
            "PUT",
            at("/v1/groups/{}/hold", group),
            body=devices_wire.NewHold(reason=reason, until=until),
        )

    def list(self, *, search: str = "") -> Listing[groups_wire.GroupInfo]:
        """List groups.

        GET /v1/groups; needs `groups.read`
        """
        return self._listing(Page[groups_wire.GroupInfo], "/v1/groups", groups_wire.GroupQuery(search=search))

    def release(self, group: str) -> None:
        """Release a group.

        DELETE /v1/groups/{group}/hold; needs `groups.write`
        """
        self._connection.call(type(None), "DELETE", at("/v1/groups/{}/hold", group))

    def remove(self, group: str, *, devices: Sequence[str]) -> groups_wire.Membership:
        """Take devices out of a group.

        POST /v1/groups/{group}/remove; needs `groups.write`
        """
        return self._connection.call(
            groups_wire.Membership,
            "POST",
            at("/v1/groups/{}/remove", group),
            body=groups_wire.ChangeMembers(devices=tuple(devices)),
        )


class Me(Noun):
    def begin_second_factor(self, *, password: str) -> second_factor_wire.TotpBegun:
        """Begin to set up codes by time (TOTP).

        POST /v1/me/second-factor
        """
        return self._connection.call(
            second_factor_wire.TotpBegun,
            "POST",
            "/v1/me/second-factor",
            body=second_factor_wire.BeginTotp(password=password),
        )

    def change_password(self, *, current: str, password: str) -> None:
        """Change one's own password; ends the other sessions.

        POST /v1/me/password
        """
        self._connection.call(
            type(None), "POST", "/v1/me/password", body=people_wire.ChangePassword(current=current, password=password)
        )

    def confirm_second_factor(self, *, code: str) -> second_factor_wire.RecoveryCodes:
        """Let it count, with its first code; shows the recovery codes.

        POST /v1/me/second-factor/confirm
        """
        return self._connection.call(
            second_factor_wire.RecoveryCodes,
            "POST",
            "/v1/me/second-factor/confirm",
            body=second_factor_wire.ConfirmTotp(code=code),
        )

    def get(self) -> people_wire.WhoAmI:
        """Who asks, and what they may.

        GET /v1/me
        """
        return self._connection.call(people_wire.WhoAmI, "GET", "/v1/me")

    def get_second_factor(self) -> second_factor_wire.SecondFactor:
        """One's own second factor.

        GET /v1/me/second-factor
        """
        return self._connection.call(second_factor_wire.SecondFactor, "GET", "/v1/me/second-factor")

    def remove_second_factor(self, *, password: str, code: str) -> None:
        """Remove one's own second factor; ends the other sessions.

        POST /v1/me/second-factor/remove
        """
        self._connection.call(
            type(None),
            "POST",
            "/v1/me/second-factor/remove",
            body=second_factor_wire.PasswordAndCode(password=password, code=code),
        )

    def renew_recovery_codes(self, *, password: str, code: str) -> second_factor_wire.RecoveryCodes:
        """New recovery codes; the old ones end.

        POST /v1/me/second-factor/recovery-codes
        """
        return self._connection.call(
            second_factor_wire.RecoveryCodes,
            "POST",
            "/v1/me/second-factor/recovery-codes",
            body=second_factor_wire.PasswordAndCode(password=password, code=code),
        )


class Node(Noun):
    def alive(self) -> node_wire.Alive:
        """Whether the process answers.

        GET /healthz
        """
        return self._connection.call(node_wire.Alive, "GET", "/healthz")

    def device_openapi(self) -> Download:
        """The description of the device channel.

        GET /v1/device/openapi.json
        """
        return self._download("/v1/device/openapi.json")

    def openapi(self) -> Download:
        """This document.

        GET /v1/openapi.json
        """
        return self._download("/v1/openapi.json")

    def ready(self) -> node_wire.Ready:
        """Whether database, blobs, keys and workers are there.

        GET /readyz
        """
        return self._connection.call(node_wire.Ready, "GET", "/readyz")

    def warnings(self) -> node_wire.Warnings:
        """What people should look after: the disk, keys and certificates.

        GET /v1/warnings
        """
        return self._connection.call(node_wire.Warnings, "GET", "/v1/warnings")


class OperatorSessions(Noun):
    def delete(self, session: str) -> None:
        """End anybody's session.

        DELETE /v1/operator-sessions/{session}; needs `users.manage`
        """
        self._connection.call(type(None), "DELETE", at("/v1/operator-sessions/{}", session))

    def list(self, *, operator: str = "") -> Listing[people_wire.OperatorSessionInfo]:
        """Everybody's sessions (users.manage for all fleets).

        GET /v1/operator-sessions; needs `users.manage`
        """
        return self._listing(
            Page[people_wire.OperatorSessionInfo], "/v1/operator-sessions", people_wire.ListSessions(operator=operator)
        )


class Operators(Noun):
    def create(
        self,
        *,
        name: str,
        roles: Sequence[people_wire.RoleGrant] = (),
        password: str | None = None,
        idempotency_key: str = "",
    ) -> people_wire.OperatorCreated:
        """Create an operator.

        POST /v1/operators; needs `users.manage`
        """
        return self._connection.call(
            people_wire.OperatorCreated,
            "POST",
            "/v1/operators",
            body=people_wire.NewOperator(name=name, roles=tuple(roles), password=password),
            idempotency_key=idempotency_key,
        )

    def disable(self, operator: str) -> None:
        """Disable an operator; ends every session, suspends their API keys.

        POST /v1/operators/{operator}/disable; needs `users.manage`
        """
        self._connection.call(type(None), "POST", at("/v1/operators/{}/disable", operator))

    def enable(self, operator: str) -> None:
        """Enable an operator.

        POST /v1/operators/{operator}/enable; needs `users.manage`
        """
        self._connection.call(type(None), "POST", at("/v1/operators/{}/enable", operator))

    def end_sessions(self, operator: str) -> people_wire.SessionsEnded:
        """End every session of an operator.

        DELETE /v1/operators/{operator}/sessions; needs `users.manage`
        """
        return self._connection.call(people_wire.SessionsEnded, "DELETE", at("/v1/operators/{}/sessions", operator))

    def get(self, operator: str) -> people_wire.OperatorInfo:
        """One operator.

        GET /v1/operators/{operator}; needs `users.manage`
        """
        return self._connection.call(people_wire.OperatorInfo, "GET", at("/v1/operators/{}", operator))

    def list(self, *, q: str = "") -> Listing[people_wire.OperatorInfo]:
        """Operators.

        GET /v1/operators; needs `users.manage`
        """
        return self._listing(Page[people_wire.OperatorInfo], "/v1/operators", people_wire.ListOperators(q=q))

    def remove_second_factor(self, operator: str) -> None:
        """Remove an operator's second factor; ends every session.

        DELETE /v1/operators/{operator}/second-factor; needs `users.manage`
        """
        self._connection.call(type(None), "DELETE", at("/v1/operators/{}/second-factor", operator))

    def reset_password(self, operator: str) -> people_wire.PasswordReset:
        """Give an operator a new password, shown once.

        POST /v1/operators/{operator}/password; needs `users.manage`
        """
        return self._connection.call(people_wire.PasswordReset, "POST", at("/v1/operators/{}/password", operator))

    def set_roles(self, operator: str, *, roles: Sequence[people_wire.RoleGrant]) -> people_wire.OperatorInfo:
        """Replace an operator's roles.

        PUT /v1/operators/{operator}/roles; needs `users.manage`
        """
        return self._connection.call(
            people_wire.OperatorInfo,
            "PUT",
            at("/v1/operators/{}/roles", operator),
            body=people_wire.SetRoles(roles=tuple(roles)),
        )


class Roles(Noun):
    def create(
        self, *, name: str, permissions: Sequence[str], description: str = "", idempotency_key: str = ""
    ) -> roles_wire.RoleDetail:
        """Make an own role from permissions.

        POST /v1/roles; needs `users.manage`
        """
        return self._connection.call(
            roles_wire.RoleDetail,
            "POST",
            "/v1/roles",
            body=roles_wire.NewRole(name=name, permissions=tuple(permissions), description=description),
            idempotency_key=idempotency_key,
        )

    def delete(self, role: str) -> None:
        """Delete an own role that nobody holds.

        DELETE /v1/roles/{role}; needs `users.manage`
        """
        self._connection.call(type(None), "DELETE", at("/v1/roles/{}", role))

    def get(self, role: str) -> roles_wire.RoleDetail:
        """One role and who holds it.

        GET /v1/roles/{role}; needs `users.manage`
        """
        return self._connection.call(roles_wire.RoleDetail, "GET", at("/v1/roles/{}", role))

    def list(self) -> roles_wire.Roles:
        """Fixed and own roles.

        GET /v1/roles; needs `users.manage`
        """
        return self._connection.call(roles_wire.Roles, "GET", "/v1/roles")

    def replace(self, role: str, *, permissions: Sequence[str], description: str = "") -> roles_wire.RoleDetail:
        """Replace what an own role holds; counts from everybody's next request.

        PUT /v1/roles/{role}; needs `users.manage`
        """
        return self._connection.call(
            roles_wire.RoleDetail,
            "PUT",
            at("/v1/roles/{}", role),
            body=roles_wire.ChangeRole(permissions=tuple(permissions), description=description),
        )


class Rollouts(Noun):
    def abort(
        self,
        rollout: int,
        *,
        reason: str = "",
        generation: int | None = None,
        policy: Literal["keep", "revert"] = "keep",
    ) -> rollouts_wire.RolloutInfo:
        """End for good; keep what runs, or revert it.

        POST /v1/rollouts/{rollout}/abort; needs `rollouts.write`
        """
        return self._connection.call(
            rollouts_wire.RolloutInfo,
            "POST",
            at("/v1/rollouts/{}/abort", rollout),
            body=rollouts_wire.Abort(reason=reason, generation=generation, policy=policy),
        )

    def approve(self, rollout: int, *, reason: str = "", generation: int | None = None) -> rollouts_wire.RolloutInfo:
        """Release the wave that waits, or complete.

        POST /v1/rollouts/{rollout}/approve; needs `rollouts.approve`
        """
        return self._connection.call(
            rollouts_wire.RolloutInfo,
            "POST",
            at("/v1/rollouts/{}/approve", rollout),
            body=rollouts_wire.Command(reason=reason, generation=generation),
        )

    def assignments(
        self, rollout: int, *, sort: Literal["wave", "attention"] = "wave", show: str = "all", search: str = ""
    ) -> Listing[rollouts_wire.AssignmentInfo]:
        """Devices of a rollout, by wave or what needs attention first.

        GET /v1/rollouts/{rollout}/assignments; needs `rollouts.read`
        """
        return self._listing(
            Page[rollouts_wire.AssignmentInfo],
            at("/v1/rollouts/{}/assignments", rollout),
            rollouts_wire.AssignmentQuery(sort=sort, show=show, search=search),
        )

    def create(
        self,
        *,
        artifact: str,
        target: rollouts_wire.Target,
        version: str | None = None,
        channel: str | None = None,
        strategy: Mapping[str, Any] | None = None,
        probes: Sequence[device_wire.ExecProbe | device_wire.HttpProbe | device_wire.FileProbe] = (),
        skip_incompatible: bool = False,
        baseline: bool = False,
        start_at: datetime | None = None,
        idempotency_key: str = "",
    ) -> rollouts_wire.RolloutInfo:
        """Create a rollout; cohorts are resolved once, now.

        POST /v1/rollouts; needs `rollouts.write`
        """
        return self._connection.call(
            rollouts_wire.RolloutInfo,
            "POST",
            "/v1/rollouts",
            body=rollouts_wire.NewRollout(
                artifact=artifact,
                version=version,
                channel=channel,
                target=target,
                strategy=dict(strategy or ()),
                probes=tuple(probes),
                skip_incompatible=skip_incompatible,
                baseline=baseline,
                start_at=start_at,
            ),
            idempotency_key=idempotency_key,
        )

    def explain(self, *, device: str, artifact: str) -> rollouts_wire.ExplanationInfo:
        """Why a device runs what it runs of an artifact name.

        GET /v1/explain; needs `rollouts.read`
        """
        return self._connection.call(
            rollouts_wire.ExplanationInfo,
            "GET",
            "/v1/explain",
            query=rollouts_wire.ExplainQuery(device=device, artifact=artifact),
        )

    def get(self, rollout: int) -> rollouts_wire.RolloutInfo:
        """One rollout: waves, counts, what it waits on, which verbs are possible.

        GET /v1/rollouts/{rollout}; needs `rollouts.read`
        """
        return self._connection.call(rollouts_wire.RolloutInfo, "GET", at("/v1/rollouts/{}", rollout))

    def halt(self, rollout: int, *, reason: str = "", generation: int | None = None) -> rollouts_wire.RolloutInfo:
        """Freeze: nothing is served, no leave is given.

        POST /v1/rollouts/{rollout}/halt; needs `rollouts.write`
        """
        return self._connection.call(
            rollouts_wire.RolloutInfo,
            "POST",
            at("/v1/rollouts/{}/halt", rollout),
            body=rollouts_wire.Command(reason=reason, generation=generation),
        )

    def list(
        self,
        *,
        state: Literal["scheduled", "running", "soaking", "waiting_for_approval", "halted", "completed", "aborted"]
        | Literal["", "open"] = "",
        artifact: str = "",
    ) -> Listing[rollouts_wire.RolloutInfo]:
        """Rollouts, the newest first.

        GET /v1/rollouts; needs `rollouts.read`
        """
        return self._listing(
            Page[rollouts_wire.RolloutInfo], "/v1/rollouts", rollouts_wire.RolloutQuery(state=state, artifact=artifact)
        )

    def preview(
        self,
        *,
        artifact: str,
        target: rollouts_wire.Target,
        version: str | None = None,
        channel: str | None = None,
        strategy: Mapping[str, Any] | None = None,
        probes: Sequence[device_wire.ExecProbe | device_wire.HttpProbe | device_wire.FileProbe] = (),
        skip_incompatible: bool = False,
        baseline: bool = False,
        start_at: datetime | None = None,
    ) -> rollouts_wire.RolloutPreview:
        """What creating this rollout would do; nothing is created.

        POST /v1/rollouts/preview; needs `rollouts.read`
        """
        return self._connection.call(
            rollouts_wire.RolloutPreview,
            "POST",
            "/v1/rollouts/preview",
            body=rollouts_wire.NewRollout(
                artifact=artifact,
                version=version,
                channel=channel,
                target=target,
                strategy=dict(strategy or ()),
                probes=tuple(probes),
                skip_incompatible=skip_incompatible,
                baseline=baseline,
                start_at=start_at,
            ),
        )

    def preview_abort(self, rollout: int) -> rollouts_wire.AbortPreview:
        """What abort with keep and with revert would do, in numbers.

        GET /v1/rollouts/{rollout}/abort; needs `rollouts.read`
        """
        return self._connection.call(rollouts_wire.AbortPreview, "GET", at("/v1/rollouts/{}/abort", rollout))

    def resume(self, rollout: int, *, reason: str = "", generation: int | None = None) -> rollouts_wire.RolloutInfo:
        """Acknowledge the failures known now and go on.

        POST /v1/rollouts/{rollout}/resume; needs `rollouts.approve`
        """
        return self._connection.call(
            rollouts_wire.RolloutInfo,
            "POST",
            at("/v1/rollouts/{}/resume", rollout),
            body=rollouts_wire.Command(reason=reason, generation=generation),
        )

    def timeline(self, rollout: int) -> rollouts_wire.Timeline:
        """What happened, newest first.

        GET /v1/rollouts/{rollout}/timeline; needs `rollouts.read`
        """
        return self._connection.call(rollouts_wire.Timeline, "GET", at("/v1/rollouts/{}/timeline", rollout))


class Running(Noun):
    def devices(
        self,
        *,
        artifact: str = "",
        version: str = "",
        group: str = "",
        selector: str = "",
        show: Literal["all", "drifted", "withdrawn", "unreported"] = "all",
    ) -> Listing[runs_wire.RunsDevice]:
        """What runs where, device by device.

        GET /v1/running/devices; needs `devices.read`
        """
        return self._listing(
            Page[runs_wire.RunsDevice],
            "/v1/running/devices",
            runs_wire.RunsPageQuery(artifact=artifact, version=version, group=group, selector=selector, show=show),
        )

    def export(
        self,
        *,
        artifact: str = "",
        version: str = "",
        group: str = "",
        selector: str = "",
        show: Literal["all", "drifted", "withdrawn", "unreported"] = "all",
        format: Literal["csv", "jsonl"] = "csv",
    ) -> Download:
        """What runs where as CSV or JSON lines, the whole of it in a stable order.

        GET /v1/running/export; needs `devices.read`
        """
        return self._download(
            "/v1/running/export",
            runs_wire.ExportRuns(
                artifact=artifact, version=version, group=group, selector=selector, show=show, format=format
            ),
        )

    def totals(
        self,
        *,
        artifact: str = "",
        version: str = "",
        group: str = "",
        selector: str = "",
        show: Literal["all", "drifted", "withdrawn", "unreported"] = "all",
    ) -> runs_wire.RunsTotals:
        """How many devices have reported, drifted, and run what is withdrawn.

        GET /v1/running/totals; needs `devices.read`
        """
        return self._connection.call(
            runs_wire.RunsTotals,
            "GET",
            "/v1/running/totals",
            query=runs_wire.RunsQuery(artifact=artifact, version=version, group=group, selector=selector, show=show),
        )

    def versions(
        self,
        *,
        artifact: str = "",
        version: str = "",
        group: str = "",
        selector: str = "",
        show: Literal["all", "drifted", "withdrawn", "unreported"] = "all",
    ) -> Listing[runs_wire.RunsVersion]:
        """How many devices run each version of each artifact.

        GET /v1/running; needs `devices.read`
        """
        return self._listing(
            Page[runs_wire.RunsVersion],
            "/v1/running",
            runs_wire.RunsPageQuery(artifact=artifact, version=version, group=group, selector=selector, show=show),
        )


class Sboms(Noun):
    def attach(self, name: str, version: str, *, upload: str, idempotency_key: str = "") -> sboms_wire.SbomInfo:
        """Attach a sealed upload as the SBOM; it is checked soon after.

        POST /v1/artifacts/{name}/{version}/sbom; needs `artifacts.publish`
        """
        return self._connection.call(
            sboms_wire.SbomInfo,
            "POST",
            at("/v1/artifacts/{}/{}/sbom", name, version),
            body=sboms_wire.AttachSbom(upload=upload),
            idempotency_key=idempotency_key,
        )

    def components(self, name: str, version: str, *, search: str = "") -> Listing[sboms_wire.ComponentInfo]:
        """The components that a valid SBOM lists.

        GET /v1/artifacts/{name}/{version}/sbom/components; needs `artifacts.read`
        """
        return self._listing(
            Page[sboms_wire.ComponentInfo],
            at("/v1/artifacts/{}/{}/sbom/components", name, version),
            sboms_wire.ComponentQuery(search=search),
        )

    def document(self, name: str, version: str, sha256: str) -> Download:
        """The bytes of an SBOM as they were sent, by their digest.

        GET /v1/artifacts/{name}/{version}/sbom/documents/{sha256}; needs `artifacts.read`
        """
        return self._download(at("/v1/artifacts/{}/{}/sbom/documents/{}", name, version, sha256))

    def get(self, name: str, version: str) -> sboms_wire.ArtifactSbom:
        """The SBOM of a version, and those it had before.

        GET /v1/artifacts/{name}/{version}/sbom; needs `artifacts.read`
        """
        return self._connection.call(sboms_wire.ArtifactSbom, "GET", at("/v1/artifacts/{}/{}/sbom", name, version))

    def remove(self, name: str, version: str, *, reason: str) -> None:
        """Take the SBOM away; it stays in the history.

        DELETE /v1/artifacts/{name}/{version}/sbom; needs `artifacts.publish`
        """
        self._connection.call(
            type(None),
            "DELETE",
            at("/v1/artifacts/{}/{}/sbom", name, version),
            query=sboms_wire.RemoveSbom(reason=reason),
        )


class Sessions(Noun):
    def create(self, *, name: str, password: str, code: str = "") -> people_wire.SessionStarted:
        """Sign in.

        POST /v1/sessions
        """
        return self._connection.call(
            people_wire.SessionStarted,
            "POST",
            "/v1/sessions",
            body=people_wire.NewSession(name=name, password=password, code=code),
        )

    def end(self, session: str) -> None:
        """End one of one's own sessions (`current`: this one).

        DELETE /v1/sessions/{session}
        """
        self._connection.call(type(None), "DELETE", at("/v1/sessions/{}", session))

    def end_others(self) -> people_wire.SessionsEnded:
        """End one's own other sessions.

        DELETE /v1/sessions
        """
        return self._connection.call(people_wire.SessionsEnded, "DELETE", "/v1/sessions")

    def list(self) -> people_wire.Sessions:
        """One's own sessions.

        GET /v1/sessions
        """
        return self._connection.call(people_wire.Sessions, "GET", "/v1/sessions")


class Settings(Noun):
    def get(self) -> settings_wire.FleetSettings:
        """What the fleet sets for itself.

        GET /v1/settings; needs `settings.manage`
        """
        return self._connection.call(settings_wire.FleetSettings, "GET", "/v1/settings")

    def node(self) -> settings_wire.NodeSettings:
        """The node's settings in force (settings.manage for all fleets).

        GET /v1/settings/node; needs `settings.manage`
        """
        return self._connection.call(settings_wire.NodeSettings, "GET", "/v1/settings/node")

    def replace(
        self,
        *,
        interval_seconds: int,
        four_eyes: bool = False,
        default_strategy: Mapping[str, Any] | None = None,
        device_events_days: int | None = None,
    ) -> settings_wire.FleetSettings:
        """Replace what the fleet sets for itself.

        PUT /v1/settings; needs `settings.manage`
        """
        return self._connection.call(
            settings_wire.FleetSettings,
            "PUT",
            "/v1/settings",
            body=settings_wire.FleetSettings(
                interval_seconds=interval_seconds,
                four_eyes=four_eyes,
                default_strategy=None if default_strategy is None else dict(default_strategy),
                device_events_days=device_events_days,
            ),
        )


class Tokens(Noun):
    def get(self, token: int) -> tokens_wire.TokenInfo:
        """One enrollment token and the devices it enrolled.

        GET /v1/tokens/{token}; needs `devices.read`
        """
        return self._connection.call(tokens_wire.TokenInfo, "GET", at("/v1/tokens/{}", token))

    def list(self, *, live: bool = False) -> Listing[tokens_wire.TokenInfo]:
        """List enrollment tokens.

        GET /v1/tokens; needs `devices.read`
        """
        return self._listing(Page[tokens_wire.TokenInfo], "/v1/tokens", tokens_wire.TokenQuery(live=live))

    def mint(
        self,
        *,
        device_name: str | None = None,
        expires_in_seconds: int | None = None,
        uses: int | None = None,
        may_replace: bool | None = None,
        tags: Mapping[str, str] | None = None,
        groups: Sequence[str] = (),
        idempotency_key: str = "",
    ) -> tokens_wire.Minted:
        """Mint an enrollment token.

        POST /v1/tokens; needs `tokens.write`
        """
        return self._connection.call(
            tokens_wire.Minted,
            "POST",
            "/v1/tokens",
            body=tokens_wire.NewToken(
                device_name=device_name,
                expires_in_seconds=expires_in_seconds,
                uses=uses,
                may_replace=may_replace,
                tags=dict(tags or ()),
                groups=tuple(groups),
            ),
            idempotency_key=idempotency_key,
        )

    def revoke(self, token: int) -> tokens_wire.TokenInfo:
        """Revoke an enrollment token.

        DELETE /v1/tokens/{token}; needs `tokens.write`
        """
        return self._connection.call(tokens_wire.TokenInfo, "DELETE", at("/v1/tokens/{}", token))


class Trust(Noun):
    def get(self) -> trust_wire.TrustDomain:
        """Keys, thresholds, versions and expiries of the trust domain, with warnings.

        GET /v1/trust; needs `trust.read`
        """
        return self._connection.call(trust_wire.TrustDomain, "GET", "/v1/trust")

    def metadata(self, file: str) -> Download:
        """One signed document, named as in the update repository (timestamp.json, 7.root.json).

        GET /v1/trust/metadata/{file}; needs `trust.read`
        """
        return self._download(at("/v1/trust/metadata/{}", file))

    def renew(self, *, signed: str) -> None:
        """Hand in publisher metadata that were signed again elsewhere.

        POST /v1/trust/renewals; needs `artifacts.publish`
        """
        self._connection.call(
            type(None), "POST", "/v1/trust/renewals", body=artifacts_wire.RenewMetadata(signed=signed)
        )

    def root(self) -> Download:
        """The current root, to be pinned into images.

        GET /v1/trust/root; needs `trust.read`
        """
        return self._download("/v1/trust/root")


class Uploads(Noun):
    def append(self, upload: str, data: bytes, *, offset: int) -> artifacts_wire.UploadState:
        """Append the body at the query parameter offset; sealed when whole.

        PATCH /v1/uploads/{upload}; needs `artifacts.publish`
        """
        return self._connection.call(
            artifacts_wire.UploadState,
            "PATCH",
            at("/v1/uploads/{}", upload),
            query=artifacts_wire.AppendQuery(offset=offset),
            body=data,
        )

    def create(self, *, file_name: str, length: int, idempotency_key: str = "") -> artifacts_wire.UploadState:
        """Announce a file.

        POST /v1/uploads; needs `artifacts.publish`
        """
        return self._connection.call(
            artifacts_wire.UploadState,
            "POST",
            "/v1/uploads",
            body=artifacts_wire.NewUpload(file_name=file_name, length=length),
            idempotency_key=idempotency_key,
        )

    def discard(self, upload: str) -> None:
        """Forget an upload.

        DELETE /v1/uploads/{upload}; needs `artifacts.publish`
        """
        self._connection.call(type(None), "DELETE", at("/v1/uploads/{}", upload))

    def get(self, upload: str) -> artifacts_wire.UploadState:
        """How much of a file has arrived.

        GET /v1/uploads/{upload}; needs `artifacts.publish`
        """
        return self._connection.call(artifacts_wire.UploadState, "GET", at("/v1/uploads/{}", upload))


class Calls:
    """All nouns."""

    def __init__(self, node: Connection) -> None:
        self.api_keys = ApiKeys(node)
        self.artifacts = Artifacts(node)
        self.audit = Audit(node)
        self.channels = Channels(node)
        self.devices = Devices(node)
        self.fleets = Fleets(node)
        self.freeze = Freeze(node)
        self.groups = Groups(node)
        self.me = Me(node)
        self.node = Node(node)
        self.operator_sessions = OperatorSessions(node)
        self.operators = Operators(node)
        self.roles = Roles(node)
        self.rollouts = Rollouts(node)
        self.running = Running(node)
        self.sboms = Sboms(node)
        self.sessions = Sessions(node)
        self.settings = Settings(node)
        self.tokens = Tokens(node)
        self.trust = Trust(node)
        self.uploads = Uploads(node)
