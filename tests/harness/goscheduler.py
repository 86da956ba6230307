"""A goscheduler as its tables show it: its keyspaces, filled with apps, schedules to come and crons.

The tables are those of its `cassandra/cassandra.cql` (commit ea0a600) in names, types and keys, without the
two views, which Cassandra has switched off unless told otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid1

import orjson
from cassandra.concurrent import execute_concurrent_with_args

_TABLES = """
CREATE KEYSPACE {schedules} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}};
CREATE KEYSPACE {cluster} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}};
CREATE TABLE {schedules}.schedules (app_id text, partition_id int, schedule_time_group timestamp,
    schedule_id uuid, callback_type text, callback_details text, payload text, schedule_time timestamp,
    parent_schedule_id uuid,
    PRIMARY KEY ((app_id, partition_id, schedule_time_group), schedule_id)
) WITH CLUSTERING ORDER BY (schedule_id DESC);
CREATE TABLE {schedules}.status (app_id text, partition_id int, schedule_time_group timestamp,
    schedule_id uuid, schedule_status text, error_msg text, reconciliation_history text,
    PRIMARY KEY ((app_id, partition_id), schedule_id)
) WITH CLUSTERING ORDER BY (schedule_id DESC);
CREATE TABLE {schedules}.recurring_schedules_by_id (app_id text, partition_id int, schedule_id uuid,
    callback_type text, callback_details text, payload text, cron_expression text, status text,
    PRIMARY KEY (schedule_id));
CREATE TABLE {cluster}.apps (id text, partitions int, active boolean, configuration text, PRIMARY KEY (id));
"""
_PUT = (
    "INSERT INTO {schedules}.schedules (app_id, partition_id, schedule_time_group, schedule_id,"
    " schedule_time, payload, callback_type, callback_details, parent_schedule_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL 2592000"
)
_PUT_CRON = (
    "INSERT INTO {schedules}.recurring_schedules_by_id (app_id, partition_id, schedule_id, payload,"
    " callback_type, callback_details, cron_expression, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_PUT_STATUS = (
    "INSERT INTO {schedules}.status (app_id, partition_id, schedule_time_group, schedule_id, schedule_status,"
    " error_msg, reconciliation_history) VALUES (?, ?, ?, ?, ?, '', '')"
)
_PUT_APP = "INSERT INTO {cluster}.apps (id, partitions, active, configuration) VALUES (?, ?, ?, ?)"
_TABLE_S = 120  #: for a change of tables, where others keep the machine busy
_NOBODY = orjson.dumps({"url": "http://127.0.0.1:1/", "method": "POST", "headers": None}).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A row of goscheduler's."""

    app_id: str
    schedule_id: UUID = field(default_factory=uuid1)
    at_s: int = 0  #: of a one-time schedule
    payload: str = "{}"
    kind: str = "http"
    details: str = _NOBODY
    parent: UUID | None = None
    expression: str = ""  #: of a cron
    status: str = "SCHEDULED"  #: of a cron


class OldScheduler:
    """The keyspaces of one goscheduler."""

    def __init__(self, session: Any, name: str) -> None:
        """Make them; `name` is the beginning of what they are called."""
        self.schedules, self.cluster = f"{name}_schedules", f"{name}_cluster"
        self._session = session
        self._partitions: dict[str, int] = {}
        for statement in self._named(_TABLES).split(";"):
            if statement.strip():
                session.execute(statement, timeout=_TABLE_S)
        texts = (_PUT, _PUT_CRON, _PUT_STATUS, _PUT_APP)
        self._put, self._put_cron, self._put_status, self._put_app = (
            session.prepare(self._named(text)) for text in texts
        )

    def _named(self, text: str) -> str:
        return text.format(schedules=self.schedules, cluster=self.cluster)

    def add_app(
        self, app_id: str, partitions: int = 5, *, active: bool = True, configuration: object = None
    ) -> None:
        self._partitions[app_id] = partitions
        text = orjson.dumps(configuration or {}).decode()
        self._session.execute(self._put_app, (app_id, partitions, active, text))

    def add(self, filed: Sequence[Filed]) -> None:
        """File one-time schedules."""
        rows = [
            (
                *self._key(each),
                each.schedule_id,
                datetime.fromtimestamp(each.at_s, UTC),
                each.payload,
                each.kind,
                each.details,
                each.parent,
            )
            for each in filed
        ]
        execute_concurrent_with_args(self._session, self._put, rows, concurrency=200)

    def add_crons(self, filed: Sequence[Filed]) -> None:
        rows = [
            (x.app_id, 0, x.schedule_id, x.payload, x.kind, x.details, x.expression, x.status) for x in filed
        ]
        execute_concurrent_with_args(self._session, self._put_cron, rows, concurrency=100)

    def delete_cron(self, filed: Filed) -> None:
        self._session.execute(
            self._named(
                "UPDATE {schedules}.recurring_schedules_by_id SET status = 'DELETED' WHERE schedule_id = %s"
            ),
            (filed.schedule_id,),
        )

    def end(self, filed: Filed, status: str = "SUCCESS") -> None:
        """Note how one ended."""
        self._session.execute(self._put_status, (*self._key(filed), filed.schedule_id, status))

    def drop(self) -> None:
        for keyspace in (self.schedules, self.cluster):
            self._session.execute(f"DROP KEYSPACE {keyspace}", timeout=_TABLE_S)

    def _key(self, filed: Filed) -> tuple[str, int, datetime]:
        """Return where goscheduler files it: the partition by the text of its id."""
        number = int.from_bytes(str(filed.schedule_id)[:8].encode(), "big")
        partition = number % self._partitions.get(filed.app_id, 5)
        return filed.app_id, partition, datetime.fromtimestamp(filed.at_s // 60 * 60, UTC)


def spread(count: int, apps: Sequence[str], from_s: int, upto_s: int, seed: int = 1) -> list[Filed]:
    """Return schedules at random whole seconds of a range."""
    pick = random.Random(seed)
    return [
        Filed(app_id=apps[n % len(apps)], at_s=pick.randrange(from_s, upto_s), payload=f'{{"n": {n}}}')
        for n in range(count)
    ]
