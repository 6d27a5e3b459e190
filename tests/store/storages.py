"""Where a node keeps rows and bytes: what stores bytes is tried on each."""

from __future__ import annotations

import pytest

#: Blobs know nothing of the database, so the S3-compatible store is tried beside one of the two.
STORAGES = pytest.mark.parametrize(
    ("database_url", "blob_url"), [("sqlite", "folder"), ("postgresql", "folder"), ("sqlite", "s3")], indirect=True
)
