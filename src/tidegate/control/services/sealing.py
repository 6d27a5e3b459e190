"""Secrets that the node must read again, sealed at rest with one key that is not in the database.

AES-256-GCM with a random nonce; the identity of the row is the associated data, so that a sealed secret cannot be
moved to another row. The key is one file; in production `seal_key_file` names one outside the data folder.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.control.settings import Settings
from tidegate.errors import Conflict, Unavailable
from tidegate.trust.tuf.durable import make_folder, write_file

_KEY_BYTES, _NONCE_BYTES, _KEY_ID_BYTES = 32, 12, 4
_VERSION = b"\x01"
_HEADER = len(_VERSION) + _KEY_ID_BYTES


class Sealer:
    """Seals and opens with one key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._id = hashlib.sha256(b"tidegate seal key\0" + key).digest()[:_KEY_ID_BYTES]

    def seal(self, secret: bytes, identity: str) -> bytes:
        """`identity` says whose it is, such as ``totp:operator:7``; opening needs the same."""
        nonce = os.urandom(_NONCE_BYTES)
        header = _VERSION + self._id
        return header + nonce + self._aead.encrypt(nonce, secret, header + identity.encode())

    def open(self, sealed: bytes, identity: str) -> bytes:
        """The secret.

        Raises:
            Unavailable: it was sealed with another key, as another identity, or changed since.
        """
        header, nonce, rest = (
            sealed[:_HEADER],
            sealed[_HEADER : _HEADER + _NONCE_BYTES],
            sealed[_HEADER + _NONCE_BYTES :],
        )
        if header != _VERSION + self._id:
            raise Unavailable(f"cannot open what is sealed as {identity}: it was sealed with another key")
        try:
            return self._aead.decrypt(nonce, rest, header + identity.encode())
        except (InvalidTag, ValueError) as error:
            raise Unavailable(f"cannot open what is sealed as {identity}: it was changed or is another's") from error


def sealer(settings: Settings) -> Sealer:
    """With the node's key; read each time, sealed secrets are opened seldom.

    Raises:
        Unavailable: the key file is missing, unreadable by the node, or holds something else.
    """
    path = settings.effective_seal_key_file
    try:
        text = path.read_text(encoding="ascii")
        key = base64.b64decode(text.strip(), validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise Unavailable(f"cannot read the seal key {path}: {error}") from error
    if len(key) != _KEY_BYTES:
        raise Unavailable(f"cannot use the seal key {path}: it must be {_KEY_BYTES} bytes in base64")
    return Sealer(key)


def create_key(path: Path) -> None:
    """Make the key file, mode 0600. Raises `Conflict` when there is one: what it sealed could not be opened again."""
    if path.exists():
        raise Conflict(f"cannot make a seal key: {path} exists")
    make_folder(path.parent)
    write_file(path, base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n", 0o600)
