"""`SqliteStore`: the protocols, put on the two threads."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeVar
from uuid import UUID

from ringtime_shared.access.keys import ApiKey
from ringtime_shared.clock import ServerTime, SystemClock
from ringtime_shared.errors import Conflict, FolderLost, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.ids import nonces_to_pass
from ringtime_shared.models.alias import Alias
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job, JobKey
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.models.shadow import Tap
from ringtime_shared.models.tally import Tally
from ringtime_shared.parts import CopyPage, PartMap
from ringtime_shared.settings import EmbeddedSettings
from ringtime_shared.stores.arrivals import RecentArrivals
from ringtime_shared.stores.protocol import (
    AppChange,
    AppCounts,
    Arrival,
    DefinitionKey,
    DuePage,
    DueQuery,
    IdPage,
    IndexEntry,
    Marks,
    MarksWrite,
    Position,
    ReceiptPage,
    RunEntry,
    TapKey,
)
from ringtime_shared.stores.sqlite import (
    aliases,
    api_keys,
    apps,
    calendars,
    claims,
    dead_letters,
    jobs,
    marks,
    node_status,
    operator,
    purge,
    recurring,
    schedules,
    schema,
    tallies,
    taps,
)
from ringtime_shared.stores.sqlite.examine import refuse_loss
from ringtime_shared.stores.sqlite.folder import (
    FolderLock,
    Home,
    find_server,
    make_folder,
    open_private,
    refuse_backup,
)
from ringtime_shared.stores.sqlite.keeper import Keeper, ServerKeeper
from ringtime_shared.stores.sqlite.reserve import Reserve
from ringtime_shared.stores.sqlite.session import Session, Worker
from ringtime_shared.stores.write_probe import WriteProbe

CHECKPOINT_PAGES = 4_000  # of a tool; a server has its `keeper`
QUEUE_LIMIT = 10_000  # operations that may wait for each of the two threads
_log = logging.getLogger(__name__)
T = TypeVar("T")
_SYSTEM_CLOCK = SystemClock()
_DEFAULTS = EmbeddedSettings()


class _Server(NamedTuple):
    """What the server on a folder has beside its connections."""

    lock: FolderLock
    reserve: Reserve
    keeper: ServerKeeper
    lost: asyncio.Future[FolderLost]


class SqliteStore:
    """Implements every store protocol on one file. For the event loop that opened it."""

    def __init__(
        self,
        writer: Worker,
        reader: Worker,
        server: _Server | None,
        now_ms: Callable[[], int],
        writable: WriteProbe,
        arrivals: RecentArrivals,
        *,
        is_for_new: bool = False,
        has_receipts: bool = True,
    ) -> None:
        """Use `open`."""
        self._writer = writer
        self._reader = reader
        self._server = server
        self._now_ms = now_ms
        self._writable = writable
        self._arrivals = arrivals  # of this process; a tool's rows beside it wait for their minute's seal
        self._is_for_new = is_for_new
        self._has_receipts = has_receipts

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        exclusive: bool = True,
        create: bool = True,
        now_ms: Callable[[], int] = _SYSTEM_CLOCK.now_ms,
        queue_limit: int = QUEUE_LIMIT,
        settings: EmbeddedSettings = _DEFAULTS,
    ) -> Self:
        """Open the store in `folder`; create folder and file if they are not there.

        A server opens it with `exclusive`, which keeps a second server out. A tool that works beside the
        server opens it without; it may read and write.

        Args:
            create: False: open only what is there, with the schema it has.

        Raises:
            StartupError: a server runs on the folder, the folder cannot be used, it does not hold what
                was acknowledged (see `examine`), or the file was written by a newer Ringtime; without
                `create` also by an older one, or there is none.
        """
        if not create:
            await asyncio.to_thread(schema.check_file, folder)
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[FolderLost] = loop.create_future()

        def on_lost(error: FolderLost) -> None:
            with suppress(RuntimeError):  # the event loop was closed and nobody waits any more
                loop.call_soon_threadsafe(lost.set_result, error)

        server = None
        keeper = Keeper(folder)
        if exclusive:
            lock, reserve = await asyncio.to_thread(_prepare, folder, settings)
            keeper = ServerKeeper(
                folder,
                lock=lock,
                reserve=reserve,
                checkpoint_ms=settings.checkpoint_ms,
                on_lost=on_lost,
            )
            server = _Server(lock, reserve, keeper, lost)
        else:
            await asyncio.to_thread(_check, folder)
        refuse = server.keeper.refuse_if_lost if server else _refuse_nothing
        writer = Worker(
            partial(schema.connect_writer, folder, checkpoint_pages=0 if exclusive else CHECKPOINT_PAGES),
            name="writer",
            begin="BEGIN IMMEDIATE",
            queue_limit=queue_limit,
            at_end="PRAGMA wal_checkpoint(TRUNCATE)" if exclusive else None,
            keeper=keeper,
            refuse=refuse,
        )
        reader = Worker(
            partial(schema.connect_reader, folder),
            name="reader",
            begin="BEGIN",
            queue_limit=queue_limit,
            refuse=refuse,
        )
        probe = WriteProbe(_SYSTEM_CLOCK.boot_ms)
        arrivals = RecentArrivals()
        store = cls(writer, reader, server, now_ms, probe, arrivals, has_receipts=settings.receipts)
        try:
            await writer.run(marks.ping)
            await reader.run(marks.ping)
            if exclusive:
                await _settle_in(writer, folder)
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
        if self._server is not None:
            await asyncio.to_thread(self._server.reserve.end)
            self._server.lock.release()

    def for_new(self) -> Self:
        """Return this store for those who file new schedules: `put_rows` raises DiskFull while the space
        that is kept for outcomes had to be given up."""
        return type(self)(
            self._writer,
            self._reader,
            self._server,
            self._now_ms,
            self._writable,
            self._arrivals,
            is_for_new=True,
            has_receipts=self._has_receipts,
        )

    @property
    def is_lost(self) -> bool:
        """Whether the files are not those any more that were opened."""
        return self._server is not None and self._server.keeper.lost is not None

    async def wait_lost(self) -> FolderLost:
        """Wait until the files are not those any more that were opened, and return what happened to them."""
        never: asyncio.Future[FolderLost] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(never if self._server is None else self._server.lost)

    async def create_app(self, app: App) -> App:
        now_ms = self._now_ms()
        return await self._write(lambda session: apps.create_app(session, app, now_ms))

    async def fetch_app(self, app_id: str) -> App | None:
        return await self._reader.run(lambda session: apps.fetch_app(session, app_id))

    async def fetch_apps(self) -> list[App]:
        return await self._reader.run(apps.fetch_apps)

    async def count_apps(self) -> AppCounts:
        return await self._reader.run(apps.count_apps)

    async def replace_app(self, app: App) -> None:
        now_ms = self._now_ms()
        await self._write(lambda session: apps.replace_app(session, app, now_ms))

    async def delete_app(self, app: App) -> None:
        now_ms = self._now_ms()
        await self._writer.run(lambda session: apps.delete_app(session, app, now_ms))

    async def count_app_changes(self) -> int:
        return await self._reader.run(apps.count_app_changes)

    async def fetch_app_changes(self, after_ms: int) -> list[AppChange]:
        return await self._reader.run(lambda session: apps.fetch_app_changes(session, after_ms))

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        return await self._reader.run(lambda session: apps.fetch_some_apps(session, app_ids))

    async def announce_app(self, app_id: str) -> None:
        now_ms = self._now_ms()
        await self._write(lambda session: apps.announce_app(session, app_id, now_ms))

    async def put_rows(self, rows: Sequence[Row]) -> None:
        now_ms = self._now_ms()
        reserve = self._server.reserve if self._server and self._is_for_new else None

        def put(session: Session) -> None:
            if reserve is not None and not reserve.is_held:
                reserve.require()
            schedules.put_rows(session, rows, now_ms, has_receipts=self._has_receipts)

        await self._write(put)
        self._arrivals.announce([row.place for row in rows], self._now_ms())

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        return await self._reader.run(lambda session: schedules.fetch_row(session, place, schedule_id))

    async def put_cancel(
        self, place: Place, schedule_id: UUID, cancelled_ms: int, expires_ms: int | None = None
    ) -> None:
        await self._write(lambda session: schedules.put_cancel(session, place, schedule_id, cancelled_ms))

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        """What was committed is not written again. A COMMIT of which that is not known is undone as far as
        this process can see, which is the only one that has these updates."""
        new = [update for update in updates if not update.written]
        await self._write(lambda session: schedules.put_updates(session, new))
        for update in new:
            update.written = 1

    async def replace_contents(self, before: Row, after: Row) -> bool:
        return await self._write(lambda session: schedules.replace_contents(session, before, after))

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return await self._reader.run(lambda session: schedules.fetch_rows(session, queries))

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        return await self._reader.run(lambda session: schedules.fetch_index(session, first, last))

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return await self._reader.run(lambda session: schedules.fetch_due(session, queries))

    async def fetch_receipts(self, entry: IndexEntry, after: bytes | None, limit: int) -> ReceiptPage:
        now_ms = self._now_ms()
        return await self._reader.run(
            lambda session: operator.fetch_receipts(session, entry, after, limit, now_ms)
        )

    async def fetch_moved(self, first: int, last: int, app_id: str = "") -> list[IndexEntry]:
        return await self._reader.run(lambda session: schedules.fetch_moved(session, first, last, app_id))

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        return self._arrivals.since(after_ms)

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[IdPage]:
        return await self._reader.run(lambda session: schedules.fetch_live_ids(session, queries))

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        return await self._reader.run(lambda session: marks.fetch_marks(session, instances))

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        await self._write(lambda session: marks.put_marks(session, writes))

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        return await self._reader.run(lambda session: recurring.fetch_definition(session, key))

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        return await self._reader.run(lambda session: recurring.fetch_definitions(session, keys))

    async def replace_definition(self, definition: Definition) -> None:
        await self._write(lambda session: recurring.replace_definition(session, definition))

    async def put_tallies(self, counts: Sequence[Tally]) -> None:
        await self._write(lambda session: tallies.put_tallies(session, counts))

    async def fetch_tallies(self, app_number: int, from_day: int) -> list[Tally]:
        return await self._reader.run(lambda session: tallies.fetch_tallies(session, app_number, from_day))

    async def put_tap(self, tap: Tap) -> None:
        await self._write(lambda session: taps.put_tap(session, tap))

    async def fetch_taps(self, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
        return await self._reader.run(lambda session: taps.fetch_taps(session, app_id, bucket, after, limit))

    async def fetch_calendars(self, app_id: str) -> list[Calendar]:
        return await self._reader.run(lambda session: calendars.fetch_calendars(session, app_id))

    async def replace_calendar(self, calendar: Calendar) -> None:
        await self._write(lambda session: calendars.replace_calendar(session, calendar))

    async def drop_calendar(self, calendar: Calendar) -> None:
        await self._write(lambda session: calendars.drop_calendar(session, calendar))

    async def drop_definition(self, definition: Definition) -> None:
        await self._write(lambda session: recurring.drop_definition(session, definition))

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        return await self._reader.run(
            lambda session: recurring.list_definitions(session, app_id, after, limit)
        )

    async def fetch_runs(
        self, key: DefinitionKey, from_ms: int, upto_ms: int, limit: int, *, newest_first: bool = False
    ) -> list[RunEntry]:
        return await self._reader.run(
            lambda session: recurring.fetch_runs(
                session, key, from_ms, upto_ms, limit, newest_first=newest_first
            )
        )

    async def fetch_claim(self, key: ClaimKey) -> Claim | None:
        return await self._reader.run(lambda session: claims.fetch_claim(session, key))

    async def replace_claim(self, claim: Claim, before: Claim | None) -> Claim:
        return await self._write(lambda session: claims.replace_claim(session, claim, before))

    async def put_aliases(self, named: Sequence[Alias]) -> None:
        await self._write(lambda session: aliases.put_aliases(session, named))

    async def fetch_aliases(self, asked: Sequence[UUID]) -> dict[UUID, UUID]:
        return await self._reader.run(lambda session: aliases.fetch_aliases(session, asked))

    async def replace_job(self, job: Job) -> None:
        await self._write(lambda session: jobs.replace_job(session, job))

    async def fetch_job(self, key: JobKey) -> Job | None:
        return await self._reader.run(lambda session: jobs.fetch_job(session, key))

    async def list_jobs(self, app_id: str, before: UUID | None, limit: int) -> list[Job]:
        return await self._reader.run(lambda session: jobs.list_jobs(session, app_id, before, limit))

    async def fetch_open_jobs(self, limit: int) -> list[Job]:
        return await self._reader.run(lambda session: jobs.fetch_open_jobs(session, limit))

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        await self._write(lambda session: dead_letters.put_dead_letters(session, letters))

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        return await self._reader.run(
            lambda session: dead_letters.fetch_dead_letters(session, app_id, after, upto_ms, limit)
        )

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        await self._write(lambda session: dead_letters.put_replayed(session, app_id, keys, replayed_ms))

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        return await self._reader.run(
            lambda session: dead_letters.count_dead_letters(session, app_id, from_ms, upto_ms)
        )

    async def put_damage(self, notes: Sequence[Damage]) -> None:
        await self._writer.run(lambda session: operator.put_damage(session, notes))

    async def fetch_damage(self, limit: int) -> list[Damage]:
        return await self._reader.run(lambda session: operator.fetch_damage(session, limit))

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]:
        return await self._reader.run(
            lambda session: operator.fetch_app_buckets(session, app_id, first, last, limit)
        )

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]:
        return await self._reader.run(
            lambda session: operator.fetch_first_buckets(session, app_ids, first, last, limit)
        )

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        return await self._reader.run(lambda session: operator.count_live(session, entries, most))

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        return await self._reader.run(lambda session: operator.fetch_last_slots(session, entries))

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        return await self._reader.run(lambda session: operator.fetch_terms(session, instances))

    async def put_audit(self, entry: AuditEntry) -> None:
        await self._write(lambda session: operator.put_audit(session, entry))

    async def fetch_audit(
        self,
        from_ms: int,
        upto_ms: int,
        limit: int,
        *,
        app_id: str = "",
        after: EntryKey | None = None,
        is_oldest_first: bool = False,
    ) -> list[AuditEntry]:
        return await self._reader.run(
            lambda session: operator.fetch_audit(
                session, app_id, from_ms, upto_ms, after, limit, is_oldest_first=is_oldest_first
            )
        )

    async def put_node_status(self, status: NodeStatus) -> None:
        now_ms = self._now_ms()
        await self._write(lambda session: node_status.put_node_status(session, status, now_ms))

    async def fetch_node_statuses(self) -> list[NodeStatus]:
        now_ms = self._now_ms()
        return await self._reader.run(lambda session: node_status.fetch_node_statuses(session, now_ms))

    async def drop_node_status(self, node: str) -> None:
        await self._write(lambda session: node_status.drop_node_status(session, node))

    async def put_key(self, key: ApiKey) -> None:
        await self._write(lambda session: api_keys.put_key(session, key))

    async def fetch_key(self, key_id: str) -> ApiKey | None:
        return await self._reader.run(lambda session: api_keys.fetch_key(session, key_id))

    async def list_keys(self, after: str, limit: int) -> list[ApiKey]:
        return await self._reader.run(lambda session: api_keys.list_keys(session, after, limit))

    async def revoke_key(self, key_id: str, at_ms: int) -> None:
        await self._write(lambda session: api_keys.revoke_key(session, key_id, at_ms))

    async def retire_key(self, key_id: str, at_ms: int) -> None:
        await self._write(lambda session: api_keys.retire_key(session, key_id, at_ms))

    async def note_key_use(self, key_id: str, at_ms: int) -> None:
        await self._write(lambda session: api_keys.note_key_use(session, key_id, at_ms))

    async def drop_key(self, key_id: str) -> None:
        await self._write(lambda session: api_keys.drop_key(session, key_id))

    async def fetch_schema(self) -> tuple[int, int]:
        return await self._reader.run(operator.fetch_schema)

    async def claim_nonce(self, holder: str) -> int:
        return await self._write(lambda session: marks.claim_nonce(session, holder))

    async def note_restore(self, sent_until_ms: int, nonces: int) -> None:
        await self._write(lambda session: marks.note_restore(session, sent_until_ms, nonces))

    async def fetch_sent_until(self) -> int:
        return await self._reader.run(marks.fetch_sent_until)

    async def raise_era(self, identity: str) -> int:
        return await self._write(lambda session: marks.raise_era(session, identity))

    async def fetch_parts(self) -> PartMap:
        return PartMap(written=1)

    async def replace_parts(self, parts: PartMap) -> None:
        raise Conflict("one process on a folder reads its whole index: it has no parts")

    async def copy_entries(self, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        return CopyPage(None, 1.0, 0)

    async def fetch_times(self) -> Sequence[ServerTime]:
        return ()

    async def ping(self) -> None:
        await self._reader.run(marks.ping)

    async def check_ready(self) -> None:
        await self._reader.run(marks.ping)
        if self._server is not None:
            await self._writer.run(lambda _: self._require_room())
        await self._writable.check(lambda: self._write(marks.touch))

    def _require_room(self) -> None:
        if self._server is not None:
            self._server.reserve.require()

    async def _write(self, operation: Callable[[Session], T]) -> T:
        probe = self._writable
        try:
            done = await self._writer.run(operation)
        except (StoreUnavailable, OutcomeUnknown):
            probe.written_ms = None
            raise
        probe.written_ms = probe.boot_ms()
        return done

    async def purge(self, now_ms: int) -> int:
        """Delete rows and dead letters past their retention, and index entries of minutes left empty;
        return how many rows and dead letters.

        A row goes if it has an outcome, a forward pointer or a cancel, lies at or under `settled`, or is of
        an app that is gone.
        Works in short transactions, so writes that come meanwhile get their turn.
        """
        deleted = 0
        is_last = False
        while not is_last:
            chunk = await self._write(lambda session: purge.purge_chunk(session, now_ms))
            deleted += chunk.deleted
            is_last = chunk.is_last
        return deleted


def _prepare(folder: Path, settings: EmbeddedSettings) -> tuple[FolderLock, Reserve]:
    """Make the folder ready for the server of this process. Raises StartupError."""
    refuse_backup(folder)
    make_folder(folder)
    lock = FolderLock(folder)
    try:
        reserve = Reserve(folder, settings.reserve_bytes)
        reserve.begin()  # first: also reading takes some space
        refuse_loss(folder, check_s=settings.check_ms / 1000)
        os.close(open_private(folder / schema.FILE_NAME))  # SQLite would make it readable to others
    except OSError as error:
        lock.release()
        raise StartupError(f"cannot use data folder {folder}: {error.strerror}") from error
    except BaseException:
        lock.release()
        raise
    return lock, reserve


async def _settle_in(writer: Worker, folder: Path) -> None:
    """Note where the folder is served; see to it that a copy of it gives out no ids that the other one does.
    Raises StoreUnavailable, OutcomeUnknown."""
    try:
        home = Home.of(folder)
    except OSError as error:
        raise StartupError(f"cannot look at {folder / schema.FILE_NAME}: {error.strerror}") from error
    nonces = nonces_to_pass()
    before = await writer.run(lambda session: marks.note_home(session, home, nonces))
    if before is not None and before.place != home.place:
        _log.warning(
            "data folder %s was copied, or moved to another disk: its ids go on from other numbers. If a"
            " server runs where it was before, what was filed by then is sent by both, with the same ids",
            folder,
        )


def _check(folder: Path) -> None:
    """Make sure that a tool which is alone on the folder does not drop what it cannot read."""
    refuse_backup(folder)
    make_folder(folder)
    if find_server(folder) is None:
        refuse_loss(folder, check_s=0)


def _refuse_nothing() -> None:
    """Nothing can be lost under a tool that is not lost under its server."""
