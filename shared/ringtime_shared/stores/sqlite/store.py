"""`SqliteStore`: the protocols, put on the two threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self
from uuid import UUID

from ringtime_shared.clock import ServerTime, SystemClock
from ringtime_shared.errors import StartupError, StoreUnavailable
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.stores.protocol import (
    AppCounts,
    DuePage,
    DueQuery,
    IndexEntry,
    Marks,
    MarksWrite,
    Position,
)
from ringtime_shared.stores.sqlite import apps, dead_letters, marks, operator, purge, schedules, schema
from ringtime_shared.stores.sqlite.engine import Worker
from ringtime_shared.stores.sqlite.lock import FolderLock

QUEUE_LIMIT = 10_000  # operations that may wait for each of the two threads
_SYSTEM_CLOCK = SystemClock()


class SqliteStore:
    """Implements every store protocol on one file. For the event loop that opened it."""

    def __init__(
        self, writer: Worker, reader: Worker, lock: FolderLock | None, now_ms: Callable[[], int]
    ) -> None:
        """Use `open`."""
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._now_ms = now_ms

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        exclusive: bool = True,
        create: bool = True,
        now_ms: Callable[[], int] = _SYSTEM_CLOCK.now_ms,
        queue_limit: int = QUEUE_LIMIT,
    ) -> Self:
        """Open the store in `folder`; create folder and file if they are not there.

        A server opens it with `exclusive`, which keeps a second server out. A tool that works beside the
        server opens it without; it may read and write.

        Args:
            create: False: open only what is there, with the schema it has.

        Raises:
            StartupError: a server runs on the folder, the folder cannot be used, or the file was
                written by a newer Ringtime; without `create` also by an older one, or there is none.
        """
        if not create:
            await asyncio.to_thread(schema.check_file, folder)
        lock = await asyncio.to_thread(_prepare, folder, exclusive)
        writer = Worker(
            partial(schema.connect_writer, folder),
            name="writer",
            begin="BEGIN IMMEDIATE",
            queue_limit=queue_limit,
            at_end="PRAGMA wal_checkpoint(TRUNCATE)" if exclusive else None,
        )
        reader = Worker(
            partial(schema.connect_reader, folder), name="reader", begin="BEGIN", queue_limit=queue_limit
        )
        store = cls(writer, reader, lock, now_ms)
        try:
            await writer.run(marks.ping)
            await reader.run(marks.ping)
        except StoreUnavailable as error:
            await store.close()
            raise StartupError(f"cannot open {folder / schema.FILE_NAME}: {error}") from error
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()
        if self._lock is not None:
            self._lock.release()

    async def create_app(self, app: App) -> App:
        return await self._writer.run(lambda session: apps.create_app(session, app))

    async def fetch_app(self, app_id: str) -> App | None:
        return await self._reader.run(lambda session: apps.fetch_app(session, app_id))

    async def fetch_apps(self) -> list[App]:
        return await self._reader.run(apps.fetch_apps)

    async def count_apps(self) -> AppCounts:
        return await self._reader.run(apps.count_apps)

    async def replace_app(self, app: App) -> None:
        now_ms = self._now_ms()
        await self._writer.run(lambda session: apps.replace_app(session, app, now_ms))

    async def put_rows(self, rows: Sequence[Row]) -> None:
        first_kept = purge.first_kept_bucket(self._now_ms())
        await self._writer.run(lambda session: schedules.put_rows(session, rows, first_kept))

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        return await self._reader.run(lambda session: schedules.fetch_row(session, place, schedule_id))

    async def put_cancel(self, place: Place, schedule_id: UUID, cancelled_ms: int) -> None:
        await self._writer.run(
            lambda session: schedules.put_cancel(session, place, schedule_id, cancelled_ms)
        )

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        await self._writer.run(lambda session: schedules.put_updates(session, updates))

    async def fetch_index(self, first: int, last: int) -> list[IndexEntry]:
        return await self._reader.run(lambda session: schedules.fetch_index(session, first, last))

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return await self._reader.run(lambda session: schedules.fetch_due(session, queries))

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[list[Position]]:
        return await self._reader.run(lambda session: schedules.fetch_live_ids(session, queries))

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        return await self._reader.run(lambda session: marks.fetch_marks(session, instances))

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        await self._writer.run(lambda session: marks.put_marks(session, writes))

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        await self._writer.run(lambda session: dead_letters.put_dead_letters(session, letters))

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        return await self._reader.run(
            lambda session: dead_letters.fetch_dead_letters(session, app_id, after, upto_ms, limit)
        )

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        await self._writer.run(lambda session: dead_letters.put_replayed(session, app_id, keys, replayed_ms))

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        return await self._reader.run(
            lambda session: dead_letters.count_dead_letters(session, app_id, from_ms, upto_ms)
        )

    async def fetch_app_buckets(self, app_id: str, first: int, last: int) -> list[IndexEntry]:
        return await self._reader.run(
            lambda session: operator.fetch_app_buckets(session, app_id, first, last)
        )

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        return await self._reader.run(lambda session: operator.count_live(session, entries, most))

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        return await self._reader.run(lambda session: operator.fetch_last_slots(session, entries))

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        return await self._reader.run(lambda session: operator.fetch_terms(session, instances))

    async def put_audit(self, entry: AuditEntry) -> None:
        await self._writer.run(lambda session: operator.put_audit(session, entry))

    async def fetch_audit(self, from_ms: int, upto_ms: int, limit: int) -> list[AuditEntry]:
        return await self._reader.run(lambda session: operator.fetch_audit(session, from_ms, upto_ms, limit))

    async def fetch_schema(self) -> tuple[int, int]:
        return await self._reader.run(operator.fetch_schema)

    async def claim_nonce(self, holder: str) -> int:
        return await self._writer.run(lambda session: marks.claim_nonce(session, holder))

    async def raise_era(self, identity: str) -> int:
        return await self._writer.run(lambda session: marks.raise_era(session, identity))

    async def fetch_times(self) -> Sequence[ServerTime]:
        return ()

    async def ping(self) -> None:
        await self._reader.run(marks.ping)

    async def purge(self, now_ms: int) -> int:
        """Delete rows and dead letters past their retention, and index entries of minutes left empty;
        return how many rows and dead letters.

        A row goes if it has an outcome, a forward pointer or a cancel, or lies at or under `settled`.
        Works in short transactions, so writes that come meanwhile get their turn.
        """
        deleted = 0
        is_last = False
        while not is_last:
            chunk = await self._writer.run(lambda session: purge.purge_chunk(session, now_ms))
            deleted += chunk.deleted
            is_last = chunk.is_last
        return deleted


def _prepare(folder: Path, exclusive: bool) -> FolderLock | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"cannot create data folder {folder}: {error.strerror}") from error
    return FolderLock(folder) if exclusive else None
