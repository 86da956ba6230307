"""Real servers for the whole session, each started by the first test that asks for it.

`cassandra_server`, `kafka_server` and `etcd_server` are shared, by processes too where the environment names
them: a test keeps to names of its own. What a test kills or freezes is one of `own_servers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringtime_local import CassandraServer, EtcdServer, KafkaServer, LocalServers, MissingPrerequisite


@pytest.fixture(scope="session")
def cassandra_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraServer]:
    servers = LocalServers(tmp_path_factory.mktemp("servers"), kafka=False, etcd=False)
    with _running(servers):
        yield servers.cassandra


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    servers = LocalServers(tmp_path_factory.mktemp("servers"), cassandra=False, etcd=False)
    with _running(servers):
        yield servers.kafka


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    servers = LocalServers(tmp_path_factory.mktemp("servers"), cassandra=False, kafka=False)
    with _running(servers):
        yield servers.etcd


@pytest.fixture(scope="session")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """All three, started here whatever the environment names. Who ends or freezes one brings it back."""
    servers = LocalServers(tmp_path_factory.mktemp("own"), own=True)
    with _running(servers):
        yield servers


@contextmanager
def _running(servers: LocalServers) -> Iterator[None]:
    try:
        servers.start()
    except MissingPrerequisite as error:
        pytest.fail(str(error), pytrace=False)  # one line that says what to install
    try:
        yield
    finally:
        servers.stop()
