"""The store on a cluster of three nodes, one of which dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.conftest import TABLES_IN_MEMORY
from tests.contract.builders import make_app, make_row
from tests.service.cql import cql_session
from tests.service.test_cassandra_store import NOW_MS, STEPS, connected, make_settings, until

from ringtime_local import CassandraOptions, LocalServers
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.cassandra.rows import routing_key

pytestmark = pytest.mark.service


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_three_nodes_carry_on_without_one(tmp_path: Path) -> None:
    options = CassandraOptions(
        nodes=3,
        heap_mib=512,
        settings={"paxos_variant": "v2"},
        java_options=TABLES_IN_MEMORY.java_options,  # the node that is killed does not come back
    )
    servers = LocalServers(tmp_path, cassandra=options, kafka=False, etcd=False, own=True)
    await asyncio.to_thread(servers.start)
    try:
        replication = '{"class": "NetworkTopologyStrategy", "replication_factor": 3}'
        settings = make_settings(servers.cassandra, replication=replication)
        applied = await asyncio.gather(*(migrate(settings) for _ in range(3)))
        assert sorted(applied) == [[], [], STEPS]
        with cql_session(servers.cassandra) as session:  # a schema of its own would take half a minute
            await asyncio.to_thread(keep_copies, session, settings.keyspace, 1)
            await spread_over_nodes(settings)
            await asyncio.to_thread(keep_copies, session, settings.keyspace, 3)
        async with connected(replace(settings, request_timeout_ms=4_000)) as store:
            app = await store.create_app(make_app())
            await asyncio.sleep(6)  # `speculative_retry` of a new table counts from its fifth second
            await asyncio.to_thread(servers.cassandra.nodes[2].kill)
            rows = [make_row(app, NOW_MS + 10**6 + n * 10_000, n % 3) for n in range(60)]
            for n in range(0, 60, 10):
                await store.put_rows(rows[n : n + 10])
            found = [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows]
            assert found == rows
            await until(lambda: store.create_app(make_app()), timeout_s=90)  # LWTs wait for the verdict
    finally:
        await asyncio.to_thread(servers.stop)


def keep_copies(session: Any, keyspace: str, copies: int) -> None:
    # By the name of the data centre: `replication_factor` is for those that the keyspace is not in yet.
    replication = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': '{copies}'}}"
    session.execute(f"ALTER KEYSPACE {keyspace} WITH replication = {replication}")


def execute(store: CassandraStore, statement: Any) -> Any:
    future = store._session._session.execute_async(statement)
    future.result()
    return future


async def spread_over_nodes(settings: CassandraSettings) -> None:
    """With one copy of each row, a batch must go to the one node that has its rows."""
    async with connected(settings) as store:
        app = await store.create_app(make_app())
        rows = [make_row(app, NOW_MS + 10**6 + n * 1_000, n % 3) for n in range(300)]
        await store.put_rows(rows)
        batches: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:

            async def note(statements: list[Any]) -> None:
                batches.extend(statements)

            patch.setattr(store._session, "write", note)
            await store.put_rows(rows)
        for batch in batches:
            (replicas,) = {
                store._session.replicas_of(routing_key(*values[:3]))
                for *_, values in batch._statements_and_parameters
            }
            (replica,) = cast(Any, replicas)
            future = await asyncio.to_thread(execute, store, batch)
            assert future.coordinator_host == replica
        hosts = {store._session.replicas_of(batch.routing_key) for batch in batches}
        assert len(hosts) == 3
        assert [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows] == rows
