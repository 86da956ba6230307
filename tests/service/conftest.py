"""What the tests on real servers share."""

from __future__ import annotations

import pytest
from tests.harness.keyspaces import make_keyspace

from ringtime_local import CassandraServer
from ringtime_shared.settings import CassandraSettings


@pytest.fixture(scope="session")
def migrated(cassandra_server: CassandraServer) -> CassandraSettings:
    """A keyspace with the schema. Who uses it keeps to apps of its own."""
    return make_keyspace(cassandra_server, "shared")
