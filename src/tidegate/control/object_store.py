"""An S3-compatible store as a client sees it: how long it is waited for, and its failures in words without secrets.

What the client library says of a failure quotes requests and answers; only what is recognised here leaves it.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from tidegate.errors import Invalid

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# No limit for a whole request: a device on a slow link takes as long over a large file as it needs. The library's own
# is 30 seconds. Silence is what is bounded: of an answer under way, and of the answer to one part that was sent.
_CLIENT: ClientConfig = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=60),
    "timeout": timedelta(days=7),
}
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
# Whether it is there at all must be told soon.
_LOOK: ClientConfig = {
    "connect_timeout": timedelta(seconds=3),
    "read_timeout": timedelta(seconds=3),
    "timeout": timedelta(seconds=5),
}

#: S3 takes at most 10,000 parts of one object, each but the last of 5 MiB or more.
_MOST_PARTS = 10_000
_PART_BYTES = 8 << 20
#: How many parts are under way at once, each in memory.
_PARTS_AT_ONCE = 4

_SAID = (
    ("NoSuchBucket", "there is no such bucket; make it, or mend blob_url"),
    ("RequestTimeTooSkewed", "its clock and this machine's are too far apart; set the clock"),
    ("InvalidAccessKeyId", "it does not know AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID"),
    ("169.254.169.254", "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the node's environment"),
    ("BadScheme", "its address is plain http, which is used only with AWS_ALLOW_HTTP=true"),
    ("dns error", "the name of its host is not resolved; see AWS_ENDPOINT_URL"),
    ("ConnectionRefused", "nothing listens at AWS_ENDPOINT_URL"),
    ("invalid peer certificate", "its certificate does not verify"),
    ("InvalidContentType", "it does not speak TLS at AWS_ENDPOINT_URL"),
    ("kind: Timeout", "it does not answer in time"),
    ("TimedOut", "it does not answer in time"),
    ("kind: Connect", "it cannot be connected to; see AWS_ENDPOINT_URL"),
    ("IncompleteMessage", "it ended an answer early"),
    ("kind: Interrupted", "it ended an answer early"),
    ("ConnectionReset", "it ended an answer early"),
)
_STATUS = re.compile(r"status code: (\d{3})")
_SYSTEM = re.compile(r"Generic LocalFileSystem error: .*\(os error (\d+)\)")


def open_bucket(url: str) -> tuple[S3Store, S3Store]:
    """The bucket and prefix that `url` names: for use, and for a quick look whether it is there.

    Endpoint, region and credentials are taken from the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID…).

    Raises:
        Invalid: the address, or a variable of the environment.
    """
    # The library reads it by itself only where no other option of the client is given.
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
    try:
        return (
            S3Store.from_url(url, client_options={**_CLIENT, "allow_http": plain}, retry_config=_RETRY),
            S3Store.from_url(url, client_options={**_LOOK, "allow_http": plain}, retry_config={"max_retries": 0}),
        )
    except (BaseError, ValueError) as error:
        raise Invalid("cannot open the blob store: blob_url or a variable AWS_… of the environment is wrong") from error


def no_bucket(error: Exception) -> bool:
    """Whether what was not found is the bucket; the library tells that like an object that is not there."""
    return "NoSuchBucket" in str(error)


def why(error: Exception) -> str:
    """What the client library's error means, for people; nothing of what it quotes. It reads local folders too."""
    text = str(error)
    if system := _SYSTEM.match(text):
        return os.strerror(int(system[1])).lower()
    for mark, words in _SAID:
        if mark in text:
            return f"the blob store: {words}"
    status = _STATUS.search(text)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or (status and status[1] in ("401", "403")):
        return "the blob store refuses the credentials in AWS_…, or they may not do this"
    if status:
        return f"the blob store answers with status {status[1]}"
    return f"the blob store failed ({type(error).__name__})"


def multipart(length: int) -> dict[str, Any]:
    """The options of `obstore.put` for so many bytes, which are sent in parts."""
    return {"chunk_size": max(_PART_BYTES, -(-length // _MOST_PARTS)), "max_concurrency": _PARTS_AT_ONCE}
