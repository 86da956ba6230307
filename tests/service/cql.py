"""CQL as the driver alone speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy

from ringtime_local import CassandraServer


@contextmanager
def cql_session(server: CassandraServer, **login: str) -> Iterator[Any]:
    profile = ExecutionProfile(RoundRobinPolicy(), request_timeout=20)
    cluster = Cluster(
        server.contact_points,
        server.port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(**login) if login else None,
        connect_timeout=20,
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()
