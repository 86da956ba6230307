"""Every driver runs the whole suite. A new driver is one opener and one line in `DRIVERS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.builders import make_app
from tests.contract.coordination import Driver, EtcdDriver, Join, MemoryDriver

from ringtime_local import CassandraServer, EtcdServer
from ringtime_shared.clock import Clock, ManualClock, SystemClock
from ringtime_shared.coordination.protocol import Member, Session
from ringtime_shared.models.app import App
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.cassandra.cluster import make_cluster
from ringtime_shared.stores.cassandra.session import CqlSession, connect_session
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Store
from ringtime_shared.stores.sqlite import SqliteStore

Opener = Callable[[pytest.FixtureRequest, ManualClock, Path], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def open_memory(
    request: pytest.FixtureRequest, clock: ManualClock, folder: Path
) -> AsyncIterator[Store]:
    yield MemoryStore(clock.now_ms)


@asynccontextmanager
async def open_sqlite(
    request: pytest.FixtureRequest, clock: ManualClock, folder: Path
) -> AsyncIterator[Store]:
    store = await SqliteStore.open(folder, now_ms=clock.now_ms)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_cassandra(
    request: pytest.FixtureRequest, clock: ManualClock, folder: Path
) -> AsyncIterator[Store]:
    """A new store in the keyspace of the session: tests keep out of each other's way by their app ids."""
    session = await CqlSession.connect(request.getfixturevalue("cassandra_settings"))
    store = await CassandraStore.on_session(session, now_ms=clock.now_ms)  # writes: by the system's clock
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_cassandra_by_driver(
    request: pytest.FixtureRequest, clock: ManualClock, folder: Path
) -> AsyncIterator[Store]:
    """The same on the driver's own connections (`cassandra.io` = driver), which all tests share."""
    connections = request.getfixturevalue("cassandra_connections")
    yield await CassandraStore.on_session(CqlSession(*connections), now_ms=clock.now_ms)


@pytest.fixture(scope="session")
def cassandra_settings(cassandra_server: CassandraServer) -> CassandraSettings:
    """A keyspace of the test run's own."""
    settings = CassandraSettings(
        contact_points=tuple(cassandra_server.contact_points),
        port=cassandra_server.port,
        keyspace=f"contract_{uuid4().hex[:8]}",
        request_timeout_ms=10_000,
    )
    with ThreadPoolExecutor(1) as pool:  # here an event loop runs already
        pool.submit(lambda: asyncio.run(migrate(settings))).result()
    return settings


@pytest.fixture(scope="session")
def cassandra_connections(cassandra_settings: CassandraSettings) -> Iterator[tuple[Any, Any, str]]:
    """What a `CqlSession` is made of, on the driver's own connections."""
    cluster = make_cluster(cassandra_settings)
    try:
        yield cluster, connect_session(cluster, cassandra_settings), cassandra_settings.keyspace
    finally:
        cluster.shutdown()


DRIVERS = [
    pytest.param(open_memory, id="memory"),
    pytest.param(open_sqlite, id="sqlite"),
    pytest.param(open_cassandra, id="cassandra", marks=pytest.mark.service),
    pytest.param(open_cassandra_by_driver, id="cassandra-by-driver", marks=pytest.mark.service),
]

#: What runs by `cassandra.io` = driver, too: they use every kind of statement (rows, batches, pages, lists of
#: partitions, LWTs, SERIAL reads), and the two ways differ in how statements travel, not in what they are.
_ON_BOTH_WAYS = ("test_app_store", "test_dead_letter_store", "test_due_store", "test_mark_store")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not _is_by_driver(item) or item.path.stem in _ON_BOTH_WAYS]


def _is_by_driver(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("store") is open_cassandra_by_driver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DRIVERS)
async def store(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Store]:
    opener: Opener = request.param
    async with opener(request, clock, tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def app(store: Store) -> App:
    """A registered app with three partitions."""
    return await store.create_app(make_app())


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.service)])
def driver(request: pytest.FixtureRequest) -> Driver:
    """A driver of coordination, with a deployment of the test's own."""
    if request.param == "memory":
        return MemoryDriver()
    server: EtcdServer = request.getfixturevalue("etcd_server")
    return EtcdDriver(server.endpoint)


@pytest.fixture
async def join(driver: Driver) -> AsyncIterator[Join]:
    joined: list[Session] = []

    async def join(node: str, clock: Clock | None = None) -> Session:
        session = driver.new(clock or SystemClock())
        joined.append(session)
        await session.join(Member(node=node, address=f"{node}:1", capacity=2.0, version="7", most=1_000))
        return session

    yield join
    for session in joined:
        await session.close()
