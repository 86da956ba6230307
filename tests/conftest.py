"""Real servers, one of each for the whole session, started by the first test that asks for it.

`cassandra_server`, `kafka_server` and `etcd_server` are those that the environment names, if it does. What a
test kills or freezes is started here in any case: `own_servers`, or `own_cassandra` and so on for one of
them. A test keeps to names of its own.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Generator, Iterator

import pytest

from ringtime_local import (
    CassandraOptions,
    CassandraServer,
    EtcdServer,
    KafkaServer,
    LocalServers,
    MissingPrerequisite,
)
from tests.harness.logs import last_said
from tests.harness.stages import CPU_S

_BEGUN_S = pytest.StashKey[float]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_BEGUN_S] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the processes of the test, or of its module, said."""
    report = yield
    factory = getattr(item, "funcargs", {}).get("tmp_path_factory")
    if report.failed and factory is not None:
        for path, said in last_said(factory.getbasetemp(), item.stash[_BEGUN_S]):
            report.sections.append((f"end of {path}", said))
    return report


def pytest_collection_finish() -> None:
    """What was collected stays to the end, and what tests leave is looked for as seldom as in a service."""
    gc.collect()
    gc.freeze()
    # As `settle_memory` does it. Hypothesis draws constants of what is imported: one module more, and a test
    # of its own plays other examples.
    gc.set_threshold(5_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def _folder_of_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every test has the factory, for `pytest_runtest_makereport`."""


@pytest.fixture(scope="session", autouse=True)
def _processor_time(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    """Has the report say what all that was run used, servers too: it is the last to end."""
    yield
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    record_testsuite_property(CPU_S, round(sum(each.ru_utime + each.ru_stime for each in used), 1))


#: A table is made without waiting for the disk, at a third of the work. After a kill it would not be there:
#: whoever kills Cassandra asks for `own_cassandra`.
TABLES_IN_MEMORY = CassandraOptions(java_options=("-Dcassandra.test.flush_local_schema_changes=false",))


@pytest.fixture(scope="session")
def _own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    asked_for = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    cassandra = True if "own_cassandra" in asked_for else TABLES_IN_MEMORY
    servers = LocalServers(tmp_path_factory.mktemp("servers"), cassandra=cassandra, own=True)
    yield servers
    for node in (node for server in servers.all for node in server.servers if node.is_running):
        node.kill()  # nobody reads its data again, which takes Cassandra five seconds to put in order
    servers.stop()


#: What the split deployment needs to start. A test that sends to Kafka asks for `own_kafka` too.
NOT_OF_CLUSTERS = ("kafka",)


@pytest.fixture(scope="session")
def own_servers(_own: LocalServers) -> LocalServers:
    """All but Kafka run. Who keeps them for several tests starts them again where one may have ended."""
    _started(lambda: _own.start(but=NOT_OF_CLUSTERS))
    return _own


@pytest.fixture
def own_cassandra(_own: LocalServers) -> CassandraServer:
    _started(_own.cassandra.start)
    return _own.cassandra


@pytest.fixture
def own_kafka(_own: LocalServers) -> KafkaServer:
    _started(_own.kafka.start)
    return _own.kafka


@pytest.fixture
def own_etcd(_own: LocalServers) -> EtcdServer:
    _started(_own.etcd.start)
    return _own.etcd


@pytest.fixture(scope="session")
def cassandra_server(_own: LocalServers) -> CassandraServer:
    server = _named("RINGTIME_TEST_CASSANDRA", _own).cassandra
    _started(server.start)
    return server


@pytest.fixture(scope="session")
def kafka_server(_own: LocalServers) -> KafkaServer:
    server = _named("RINGTIME_TEST_KAFKA", _own).kafka
    _started(server.start)
    return server


@pytest.fixture(scope="session")
def etcd_server(_own: LocalServers) -> EtcdServer:
    server = _named("RINGTIME_TEST_ETCD", _own).etcd
    _started(server.start)
    return server


def _named(variable: str, own: LocalServers) -> LocalServers:
    """Return the servers of the environment if it names this one, else our own."""
    return LocalServers(own.folder) if os.environ.get(variable) else own


def _started(start: Callable[[], None]) -> None:
    try:
        start()
    except MissingPrerequisite as error:
        pytest.fail(str(error), pytrace=False)  # one line that says what to install
