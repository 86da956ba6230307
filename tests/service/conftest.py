"""What the tests on real servers share."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from ringtime_local import CassandraServer
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import migrate


@pytest.fixture(scope="session")
def migrated(cassandra_server: CassandraServer) -> CassandraSettings:
    """A keyspace with the schema, which takes seconds to make. Who uses it keeps to apps of its own."""
    settings = CassandraSettings(
        contact_points=tuple(cassandra_server.contact_points),
        port=cassandra_server.port,
        keyspace=f"shared_{uuid4().hex[:8]}",
    )
    asyncio.run(migrate(settings))
    return settings
