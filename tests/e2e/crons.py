"""What became of recurring schedules of a split deployment, as its store tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from ringtime_local.cluster import Cluster
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.recurring.runs import next_after
from ringtime_shared.settings import load_settings
from ringtime_shared.stores.cassandra.store import CassandraStore
from ringtime_shared.stores.protocol import DefinitionKey
from tests.harness.client import LoadClient, gather

PUTS = 5  #: of one whose answer is 503, as on a machine that is too busy for its Cassandra
EACH_MINUTE: Mapping[str, object] = {"cronExpression": "* * * * *", "timeZone": "UTC"}
EVERY_5_S: Mapping[str, object] = {
    "interval": {"every": 5, "unit": "seconds", "anchorTime": "2026-01-01T00:00:00Z"},
    "timeZone": "UTC",
}


async def put_all(
    client: LoadClient, url: str, paths: Sequence[str], times: Mapping[str, object] = EACH_MINUTE
) -> list[DefinitionKey]:
    """Put what runs at these times; return what it is known as."""
    callback = {"type": "http", "details": {"url": url, "method": "POST"}}
    body = {"payload": "{}", "callback": callback, **times}
    shown = await ask_all(client, "PUT", paths, body)
    return [DefinitionKey(each["appId"], UUID(each["scheduleId"])) for each in shown]


async def ask_all(
    client: LoadClient, method: str, paths: Sequence[str], body: Mapping[str, object]
) -> list[Any]:
    """Ask for the same of many, and return the answers; what got no sure one is asked for again."""
    asked = [client.request(method, path, body) for path in paths]
    answers = dict(zip(paths, await gather(asked), strict=True))
    for _ in range(PUTS):
        unsure = [path for path, answer in answers.items() if answer.status == 503]
        again = await gather(client.request(method, path, body) for path in unsure)
        answers |= zip(unsure, again, strict=True)
    assert {answer.status for answer in answers.values()} <= {200, 201}, answers
    return [answer.data for answer in answers.values()]


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[CassandraStore]:
    """The deployment's store."""
    store = await CassandraStore.connect(load_settings(cluster.folder / "ringtime.json", {}).cassandra)
    try:
        yield store
    finally:
        await store.close()


async def runs_of(store: CassandraStore, definition: Definition) -> list[Row]:
    """Return the home rows of a definition's runs."""
    key = DefinitionKey(definition.app_id, definition.recurring_id)
    begun_ms, ended_ms = definition.earlier[-1].from_ms, definition.from_ms
    entries = await store.fetch_runs(key, begun_ms, ended_ms + 120_000, 10_000)
    ids = [entry.schedule_id for entry in entries]
    rows = [await store.fetch_row(Place.of_home(key.app_id, each), each) for each in ids]
    return [row for row in rows if row is not None]


def planned(definition: Definition) -> list[int]:
    """Return the nominal times from the put to the pause."""
    after_ms, found = definition.earlier[-1].from_ms, list[int]()
    while (run := next_after(definition.times, after_ms, key=definition.key)) is not None:
        if run.nominal_ms > definition.from_ms:
            break
        found.append(run.nominal_ms)
        after_ms = run.nominal_ms
    return found


async def ended(store: CassandraStore, definitions: Sequence[Definition]) -> list[list[Row]]:
    """Return the runs of each when all have an outcome, or after a minute and a half."""
    until_s = time.monotonic() + 90
    while True:
        found = [await runs_of(store, each) for each in definitions]
        if all(row.outcome is not None for rows in found for row in rows) or time.monotonic() > until_s:
            return found
        await asyncio.sleep(1)
