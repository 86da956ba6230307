"""Every driver runs the whole suite. A new driver is one opener and one line in `DRIVERS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from pytest_asyncio import is_async_test
from tests.contract.builders import make_app
from tests.contract.coordination import Driver, EtcdDriver, Join, MemoryDriver
from tests.harness.keyspaces import make_keyspace

from ringtime_local import CassandraServer, EtcdServer
from ringtime_shared.clock import Clock, ManualClock, SystemClock
from ringtime_shared.coordination.protocol import Member, Session
from ringtime_shared.models.app import App
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore
from ringtime_shared.stores.cassandra.cluster import make_cluster
from ringtime_shared.stores.cassandra.session import CqlSession, connect_session
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Store
from ringtime_shared.stores.sqlite import SqliteStore

Opener = Callable[[ManualClock, Path], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def open_memory(clock: ManualClock, folder: Path) -> AsyncIterator[Store]:
    yield MemoryStore(clock.now_ms)


@asynccontextmanager
async def open_sqlite(clock: ManualClock, folder: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(folder, now_ms=clock.now_ms)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_cassandra(
    make_session: Callable[[], CqlSession], clock: ManualClock, folder: Path
) -> AsyncIterator[Store]:
    """A new store on the connections of the session: tests keep out of each other's way by their app ids."""
    yield await CassandraStore.on_session(make_session(), now_ms=clock.now_ms)


@pytest.fixture(scope="session")
def way_of_the_loop(cassandra_session: CqlSession) -> Opener:
    return partial(open_cassandra, lambda: cassandra_session)


@pytest.fixture(scope="session")
def way_of_the_driver(cassandra_connections: tuple[Any, Any, str]) -> Opener:
    """`cassandra.io` = driver."""
    return partial(open_cassandra, lambda: CqlSession(*cassandra_connections))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cassandra_session(cassandra_settings: CassandraSettings) -> AsyncIterator[CqlSession]:
    session = await CqlSession.connect(cassandra_settings)
    prepare_once(session._session)
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture(scope="session")
def cassandra_settings(cassandra_server: CassandraServer) -> CassandraSettings:
    """A keyspace of the test run's own."""
    return replace(make_keyspace(cassandra_server, "contract"), request_timeout_ms=10_000)


@pytest.fixture(scope="session")
def cassandra_connections(
    cassandra_settings: CassandraSettings, cassandra_session: CqlSession
) -> Iterator[tuple[Any, Any, str]]:
    """What a `CqlSession` is made of, on the driver's own connections."""
    cluster = make_cluster(cassandra_settings)
    # What a test writes here over what its store has written counts, even within one millisecond.
    cluster.timestamp_generator = cassandra_session._cluster.timestamp_generator
    try:
        session = connect_session(cluster, cassandra_settings)
        prepare_once(session)
        yield cluster, session, cassandra_settings.keyspace
    finally:
        cluster.shutdown()


def prepare_once(session: Any) -> None:
    """Have a session of the driver's prepare each text once.

    Every case has a store of its own, and all have the same hundred and more statements, a round trip each.
    """
    session.prepare = cache(session.prepare)


#: An opener, or the name of a fixture that is one.
DRIVERS = [
    pytest.param(open_memory, id="memory"),
    pytest.param(open_sqlite, id="sqlite"),
    pytest.param("way_of_the_loop", id="cassandra", marks=pytest.mark.service),
    pytest.param("way_of_the_driver", id="cassandra-by-driver", marks=pytest.mark.service),
]

#: What runs by `cassandra.io` = driver, too: they use every kind of statement (rows, batches, pages, lists of
#: partitions, LWTs, SERIAL reads), and the two ways differ in how statements travel, not in what they are.
_ON_BOTH_WAYS = ("test_app_store", "test_due_store")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what need not run both ways; all of this folder shares one event loop, as connections do."""
    items[:] = [item for item in items if not _is_by_driver(item) or item.path.stem in _ON_BOTH_WAYS]
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def _is_by_driver(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("opener") == "way_of_the_driver"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def find_opener(request: pytest.FixtureRequest) -> Opener:
    found = request.param
    return cast(Opener, request.getfixturevalue(found) if isinstance(found, str) else found)


@pytest.fixture(params=DRIVERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return find_opener(request)


@pytest_asyncio.fixture(loop_scope="session")
async def store(opener: Opener, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Store]:
    async with opener(clock, tmp_path / "data") as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
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


@pytest_asyncio.fixture(loop_scope="session")
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
