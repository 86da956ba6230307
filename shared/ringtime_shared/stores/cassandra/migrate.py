"""The schema: numbered steps in `cql/`, applied in order, by one process at a time.

`schema_steps` says which steps were applied; its row 0 is the lock, an LWT row that ends by itself when
its holder dies. Steps may be run again, so a step cut short is no harm. `schema_steps` itself gets a fixed
table id: two processes that create a table at once through two nodes would else make two tables of one
name.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

from cassandra.query import SimpleStatement

from ringtime_shared.errors import StartupError
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra.cluster import PLAIN, SERIAL, make_cluster
from ringtime_shared.stores.cassandra.session import CqlSession, connect_session, from_driver

LOCK_TTL_S = 60  # renewed before each statement
WAIT_S = 180.0  # for another process's lock
_POLL_S = 0.25
_STATEMENT_TIMEOUT_S = 30.0
_ATTEMPTS = 6

_LOCK = f"INSERT INTO schema_steps (version, name) VALUES (0, %s) IF NOT EXISTS USING TTL {LOCK_TTL_S}"
_RENEW = f"UPDATE schema_steps USING TTL {LOCK_TTL_S} SET name = %s WHERE version = 0 IF name = %s"
_UNLOCK = "DELETE FROM schema_steps WHERE version = 0 IF name = %s"
_APPLIED = (
    "INSERT INTO schema_steps (version, name, applied_at) VALUES (%s, %s, toTimestamp(now())) IF NOT EXISTS"
)
_GET_VERSIONS = "SELECT version FROM $schema_steps"


@dataclass(frozen=True, slots=True)
class Step:
    """One file of `cql/`."""

    version: int
    name: str
    statements: tuple[str, ...]


def read_steps() -> list[Step]:
    """Return the steps this Ringtime knows, in order."""
    folder = resources.files("ringtime_shared.stores.cassandra") / "cql"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".cql"))
    return [
        Step(int(name.partition("_")[0]), name, tuple(_split((folder / name).read_text(encoding="utf-8"))))
        for name in names
    ]


def _split(text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for part in "\n".join(lines).split(";"):
        if statement := part.strip():
            yield statement


async def check_schema(session: CqlSession) -> None:
    """Raise StartupError unless the keyspace has exactly the schema this Ringtime knows."""
    keyspace = session.keyspace
    known = read_steps()[-1].version
    found = await fetch_schema_version(session)
    _refuse_newer(keyspace, found, known)
    if found < known:
        raise StartupError(
            f"keyspace {keyspace!r} has schema version {found}, this Ringtime needs {known}: run `migrate`"
        )


async def fetch_schema_version(session: CqlSession) -> int:
    """Return the last step that was applied. Raises StartupError when there is no schema at all."""
    try:
        (statement,) = await session.prepare(_GET_VERSIONS)
    except StartupError as error:
        raise StartupError(
            f"keyspace {session.keyspace!r} has no Ringtime schema: run `migrate` first"
        ) from error
    return max((version for (version,) in await session.read(statement.bind())), default=0)


def _refuse_newer(keyspace: str, found: int, known: int) -> None:
    if found > known:
        raise StartupError(
            f"keyspace {keyspace!r} has schema version {found}, this Ringtime knows only {known}"
        )


async def migrate(settings: CassandraSettings) -> list[str]:
    """Create the keyspace if it is not there and apply the steps it lacks; return their names.

    Several processes may call this at once: one works, the others wait for it and apply nothing.

    Raises:
        StartupError: no node answers, a statement fails, the nodes do not agree on the schema, or the
            schema is newer than this Ringtime. What was applied stays; run it again.
    """
    return await asyncio.to_thread(_migrate, settings)


def _migrate(settings: CassandraSettings) -> list[str]:
    cluster = make_cluster(settings)
    try:
        session = connect_session(cluster, settings)
        return _Migration(session, settings).run()
    finally:
        cluster.shutdown()


class _Migration:
    """One run, in a thread of its own."""

    def __init__(self, session: Any, settings: CassandraSettings) -> None:
        self._session = session
        self._settings = settings
        # One node for all: others may not have heard yet of what was made through this one.
        self._host = session.cluster.get_control_connection_host()
        self._holder = f"{socket.gethostname()}, pid {os.getpid()}, {uuid4().hex[:8]}"

    def run(self) -> list[str]:
        self._make_keyspace()
        steps = read_steps()
        if not self._missing(steps):
            return []
        self._take_lock()
        try:
            missing = self._missing(steps)  # again: another process may have been faster
            for step in missing:
                self._apply(step)
        finally:
            self._execute(_UNLOCK, self._holder)
        return [step.name for step in missing]

    def _make_keyspace(self) -> None:
        keyspace, replication = self._settings.keyspace, json.loads(self._settings.replication)
        words = ", ".join(f"'{name}': '{value}'" for name, value in replication.items())
        create = f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{{words}}}"
        self._execute(create, is_global=True)
        table_id = uuid5(NAMESPACE_DNS, f"schema_steps.{keyspace}.ringtime")
        self._execute(
            "CREATE TABLE IF NOT EXISTS schema_steps"
            " (version int PRIMARY KEY, name text, applied_at timestamp)"
            f" WITH id = {table_id} AND comment = 'Applied schema steps. Row 0 is the lock, with its holder.'"
        )

    def _missing(self, steps: list[Step]) -> list[Step]:
        applied = {version for (version,) in self._execute(_GET_VERSIONS.replace("$", ""), profile=SERIAL)}
        _refuse_newer(self._settings.keyspace, max(applied, default=0), steps[-1].version)
        return [step for step in steps if step.version not in applied]

    def _take_lock(self) -> None:
        give_up_at = time.monotonic() + WAIT_S
        while True:
            ((is_applied, *held),) = self._execute(_LOCK, self._holder)
            if is_applied or self._holder in held:
                return
            if time.monotonic() > give_up_at:
                raise StartupError(
                    f"keyspace {self._settings.keyspace!r} is being migrated by another process: {held}"
                )
            time.sleep(_POLL_S)

    def _apply(self, step: Step) -> None:
        for statement in step.statements:
            ((is_ours, *_),) = self._execute(_RENEW, self._holder, self._holder)
            if not is_ours:
                raise StartupError(
                    f"{step.name}: this process was so slow that another took over; run it again"
                )
            self._execute(statement)
        self._execute(_APPLIED, step.version, step.name)

    def _execute(self, text: str, *values: object, profile: object = PLAIN, is_global: bool = False) -> Any:
        """Return the rows. Every statement may be run again: the LWTs name their holder."""
        statement = SimpleStatement(text, keyspace=None if is_global else self._settings.keyspace)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                future = self._session.execute_async(
                    statement,
                    values or None,
                    timeout=_STATEMENT_TIMEOUT_S,
                    execution_profile=profile,
                    host=self._host,
                )
                rows = future.result().all()
                break
            except Exception as error:  # the driver's errors have no common root
                failure = from_driver(error)
                if not failure.is_retryable or attempt == _ATTEMPTS:
                    raise StartupError(f"{' '.join(text.split())[:200]}: {failure.text}") from error
                time.sleep(_POLL_S * attempt)  # a node may not have heard of a new table yet
        if not future.is_schema_agreed:
            raise StartupError("the nodes do not agree on the schema; run it again when all are up")
        return rows
