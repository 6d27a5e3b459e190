"""What every test may ask for: `database` (both kinds, fresh and migrated) and `node` (a whole node on it).

A module whose tests store bytes has the mark `tests.store.storages.STORAGES`: its nodes keep them in a folder, and in a
real S3-compatible store.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tidegate.control import logs
from tidegate.control.services.node import Node
from tidegate.control.store import migrations
from tidegate.control.store.engine import Database
from tidegate.testing import postgres, s3

_CLUSTER = "TIDEGATE_TEST_CLUSTER"

# The same examples everywhere, however slow the machine: what Hypothesis does by itself only where `CI` is set.
hypothesis.settings.register_profile(
    "tidegate", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tidegate")


def pytest_configure(config: pytest.Config) -> None:
    # The controller names the folder and hands it to the xdist workers; the first test that needs a server starts it.
    if not hasattr(config, "workerinput"):
        postgres.sweep()
        os.environ[_CLUSTER] = str(postgres.new_folder())


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres.Cluster(Path(os.environ.pop(_CLUSTER))).stop()


def pytest_make_parametrize_id(val: object) -> str | None:
    # Workers must collect the same names, and bytes that are made (compressed, signed) differ from second to second.
    return "bytes" if isinstance(val, bytes) and len(val) > 16 else None


def _migrate(url: str) -> None:
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "tidegate.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_cluster() -> postgres.Cluster:
    cluster = postgres.Cluster(Path(os.environ[_CLUSTER]))
    cluster.start(_migrate)
    return cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database; each test runs on both kinds.

    What has nothing to do with storage may choose one: ``@pytest.mark.parametrize("database_url", ["sqlite"],
    indirect=True)``.
    """
    if request.param == "sqlite":
        path = tmp_path / "tidegate.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    cluster: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    with cluster.fresh(f"t{uuid.uuid4().hex}") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Store]:
    with s3.running(tmp_path_factory.mktemp("s3")) as store:
        store.make_bucket("tests")
        yield store


@pytest.fixture
def blob_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The setting `blob_url`: empty for a folder, or a prefix of its own in a real S3-compatible store."""
    if getattr(request, "param", "folder") == "folder":
        return ""
    store: s3.Store = request.getfixturevalue("object_store")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://tests/{uuid.uuid4().hex}"


@pytest.fixture(params=["json", "console"])
def log_text(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Logging as `tidegate serve` sets it up, into memory; put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    logs.configure(request.param, "info", stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def node(tmp_path: Path, database: Database, blob_url: str) -> Node:
    """A node with the fleet `default`, its trust domain and certificates; services work on it as on a real one."""
    from tidegate.testing.node import make_node

    return make_node(tmp_path, database, blob_url=blob_url)
