"""The schema: numbered steps in `cql/`, applied in order, by one process at a time.

`schema_steps` says which steps were applied; its row 0 is the lock, an LWT row that ends by itself when
its holder dies. Steps may be run again, so a step cut short is no harm. `schema_steps` itself gets a fixed
table id: two processes that create a table at once through two nodes would else make two tables of one
name.

Programs of the release before run, start and start again on a schema that has later steps, as long as these
only add. The highest number in `schema_steps` is the floor: the last step that a program has to know to run
here. Release 0.1.0 reads it as the version of the schema, and starts on no other than 17. So a later step is
noted under its number below zero, which that release does not see; a step that takes something away says in
a line `-- floor: N` which step a program has to know from then on, and N is noted before it begins. See
docs/upgrade.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
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
_FLOOR = "-- floor: "
FIRST_FLOOR = 17  #: the steps of release 0.1.0, which are all noted above zero


@dataclass(frozen=True, slots=True)
class Step:
    """One file of `cql/`."""

    version: int
    name: str
    statements: tuple[str, ...]
    floor: int = 0  #: the last step that a program has to know to run beside this one; 0: it only adds

    @property
    def note(self) -> int:
        """Its number in `schema_steps`."""
        return self.version if self.version <= FIRST_FLOOR else -self.version


@dataclass(frozen=True, slots=True)
class Applied:
    """What `schema_steps` says."""

    versions: frozenset[int]
    floor: int

    @property
    def version(self) -> int:
        """The last step that was applied."""
        return max(self.versions, default=0)


def read_applied(notes: Iterable[int]) -> Applied:
    """Read the numbers of `schema_steps`, the lock's among them."""
    found = {*notes, 0}
    return Applied(frozenset(abs(note) for note in found if note), max(found))


def read_steps() -> list[Step]:
    """Return the steps this Ringtime knows, in order."""
    folder = resources.files("ringtime_shared.stores.cassandra") / "cql"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".cql"))
    return [_to_step(name, (folder / name).read_text(encoding="utf-8")) for name in names]


def _to_step(name: str, text: str) -> Step:
    version = int(name.partition("_")[0])
    said = [line.removeprefix(_FLOOR) for line in text.splitlines() if line.startswith(_FLOOR)]
    floor = int(said[0]) if said else 0
    if floor >= version:
        raise ValueError(f"{name}: a program that needs step {floor} cannot be older than this step")
    return Step(version, name, tuple(_split(text)), floor)


def _split(text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for part in "\n".join(lines).split(";"):
        if statement := part.strip():
            yield statement


async def check_schema(session: CqlSession) -> None:
    """Raise StartupError unless this Ringtime can run on the schema of the keyspace."""
    keyspace = session.keyspace
    known = read_steps()[-1].version
    found = await fetch_applied(session)
    _refuse_newer(keyspace, found, known)
    if found.version < known:
        raise StartupError(
            f"keyspace {keyspace!r} has schema version {found.version}, this Ringtime needs {known}:"
            " run `migrate`"
        )


async def fetch_applied(session: CqlSession) -> Applied:
    """Return which steps were applied. Raises StartupError when there is no schema at all."""
    try:
        (statement,) = await session.prepare(_GET_VERSIONS)
    except StartupError as error:
        raise StartupError(
            f"keyspace {session.keyspace!r} has no Ringtime schema: run `migrate` first"
        ) from error
    return read_applied(version for (version,) in await session.read(statement.bind()))


def _refuse_newer(keyspace: str, found: Applied, known: int) -> None:
    if found.floor > known:
        raise StartupError(
            f"keyspace {keyspace!r} has schema version {found.version}, of which a Ringtime has to know"
            f" {found.floor}; this one knows only {known}"
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
        notes = self._execute(_GET_VERSIONS.replace("$", ""), profile=SERIAL)
        applied = read_applied(version for (version,) in notes)
        _refuse_newer(self._settings.keyspace, applied, steps[-1].version)
        return [step for step in steps if step.version not in applied.versions]

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
        if step.floor > FIRST_FLOOR:  # first: from now on no older program may start
            self._execute(_APPLIED, step.floor, f"floor of {step.name}")
        for statement in step.statements:
            ((is_ours, *_),) = self._execute(_RENEW, self._holder, self._holder)
            if not is_ours:
                raise StartupError(
                    f"{step.name}: this process was so slow that another took over; run it again"
                )
            self._execute(statement)
        self._execute(_APPLIED, step.note, step.name)

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
