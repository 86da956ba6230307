"""goscheduler's tables on a real Cassandra: each row is read once, however the pages fall."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest
from tests.harness.goscheduler import Filed, OldScheduler
from tests.service.cql import cql_session

from ringtime.importing.rows import Keyspaces
from ringtime.importing.source import Source
from ringtime_local import CassandraServer
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import CassandraSettings

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
AT_S = 1_900_000_000


async def test_each_row_is_read_once(cassandra_server: CassandraServer) -> None:
    settings = CassandraSettings(
        contact_points=tuple(cassandra_server.contact_points),
        port=cassandra_server.port,
        request_timeout_ms=30_000,
    )
    with pytest.raises(StartupError, match="cannot prepare"):
        await Source.connect(settings, Keyspaces(schedules="nowhere", cluster="nowhere"))
    with cql_session(cassandra_server) as session:
        tables = OldScheduler(session, f"src_{uuid4().hex[:8]}")
        try:
            tables.add_app("crowded", partitions=1)
            tables.add_app("sparse", partitions=5, active=False, configuration={"payloadSize": 7})
            # 25 rows of one partition, which no page holds; then some that share a page.
            crowd = [Filed(app_id="crowded", at_s=AT_S + n) for n in range(25)]
            rest = [Filed(app_id="sparse", at_s=AT_S + 60 * n, payload=f"{n}") for n in range(30)]
            run = Filed(app_id="sparse", at_s=AT_S, parent=uuid4())
            tables.add([*crowd, *rest, run])
            tables.end(rest[0])
            crons = [Filed(app_id="sparse", expression=f"{n} * * * *") for n in range(11)]
            tables.add_crons(crons)
            names = Keyspaces(schedules=tables.schedules, cluster=tables.cluster)
            for page_rows in (1, 7, 25, 1_000):
                source = await Source.connect(settings, names, page_rows=page_rows)
                try:
                    pages = [page async for page in source.schedules()]
                    assert max(map(len, pages)) <= page_rows
                    found = {row.schedule_id: row for page in pages for row in page}
                    assert Counter(row.schedule_id for page in pages for row in page) == Counter(
                        each.schedule_id for each in (*crowd, *rest, run)
                    )
                    one = found[rest[3].schedule_id]
                    assert (one.fire_ms, one.payload) == ((AT_S + 180) * 1_000, "3")
                    assert (found[run.schedule_id].parent, one.parent) == (run.parent, None)
                    ids = [row.schedule_id async for page in source.crons() for row in page]
                    assert Counter(ids) == Counter(each.schedule_id for each in crons)
                    apps = await source.apps()
                    assert [(app.app_id, app.partitions, app.active) for app in apps] == [
                        ("crowded", 1, True),
                        ("sparse", 5, False),
                    ]
                    rows = [found[rest[0].schedule_id], one]
                    assert await source.outcomes(rows) == ["SUCCESS", None]
                finally:
                    await source.close()
        finally:
            tables.drop()
