"""Keyspaces with the schema, on a Cassandra of the tests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from ringtime_local import CassandraServer
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import migrate


def make_keyspace(server: CassandraServer, name: str) -> CassandraSettings:
    """Make a keyspace with the schema, which takes seconds, and return how to reach it."""
    settings = CassandraSettings(
        contact_points=tuple(server.contact_points),
        port=server.port,
        keyspace=f"{name}_{uuid4().hex[:8]}",
    )
    with ThreadPoolExecutor(1) as pool:  # an event loop may be running here
        pool.submit(lambda: asyncio.run(migrate(settings))).result()
    return settings
