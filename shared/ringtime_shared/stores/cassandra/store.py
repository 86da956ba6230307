"""`CassandraStore`: the protocols, put together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Self
from uuid import UUID

from ringtime_shared.access.keys import ApiKey
from ringtime_shared.clock import ServerTime, SystemClock
from ringtime_shared.errors import Damaged, StartupError, StoreUnavailable
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
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.shadow import Tap
from ringtime_shared.models.tally import Tally
from ringtime_shared.parts import CopyPage, HeldParts, PartMap
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra.aliases import AliasTable
from ringtime_shared.stores.cassandra.api_keys import ApiKeyTable
from ringtime_shared.stores.cassandra.app_feed import AppChangeTables
from ringtime_shared.stores.cassandra.apps import Apps
from ringtime_shared.stores.cassandra.arrivals import Arrivals
from ringtime_shared.stores.cassandra.audit import AuditTables
from ringtime_shared.stores.cassandra.calendars import Calendars
from ringtime_shared.stores.cassandra.claims import Claims
from ringtime_shared.stores.cassandra.dead_letters import DeadLetters
from ringtime_shared.stores.cassandra.jobs import JobTables
from ringtime_shared.stores.cassandra.marks import MarkTable
from ringtime_shared.stores.cassandra.meta import HostTimes, MetaTable
from ringtime_shared.stores.cassandra.migrate import check_schema
from ringtime_shared.stores.cassandra.node_status import NodeStatusTable
from ringtime_shared.stores.cassandra.operator import DamageTable, OperatorReads
from ringtime_shared.stores.cassandra.parts import PartTable
from ringtime_shared.stores.cassandra.recurring import Recurring
from ringtime_shared.stores.cassandra.schedules import EXPIRIES, Due, Known, Schedules
from ringtime_shared.stores.cassandra.session import CqlSession
from ringtime_shared.stores.cassandra.tallies import Tallies
from ringtime_shared.stores.cassandra.taps import Taps
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

_SYSTEM_CLOCK = SystemClock()


class CassandraStore:
    """Implements every store protocol. For the event loop that connected it."""

    def __init__(
        self,
        session: CqlSession,
        schedules: Schedules,
        due: Due,
        arrivals: Arrivals,
        apps: Apps,
        app_changes: AppChangeTables,
        marks: MarkTable,
        recurring: Recurring,
        calendars: Calendars,
        claims: Claims,
        aliases: AliasTable,
        jobs: JobTables,
        tallies: Tallies,
        taps: Taps,
        dead_letters: DeadLetters,
        damage: DamageTable,
        operator: OperatorReads,
        api_keys: ApiKeyTable,
        audit: AuditTables,
        node_status: NodeStatusTable,
        meta: MetaTable,
        times: HostTimes,
        parts: PartTable,
        held: HeldParts,
    ) -> None:
        """Use `connect`."""
        self._session = session
        self._schedules = schedules
        #: the busiest calls are the tables' own: a coroutine in between would cost each of them
        self.put_rows, self.fetch_row = schedules.put_rows, schedules.fetch_row
        self.put_cancel, self.put_updates = schedules.put_cancel, schedules.put_updates
        self._due = due
        self._arrivals = arrivals
        self._apps = apps
        self._app_changes = app_changes
        self._marks = marks
        self._recurring = recurring
        self._calendars = calendars
        self._claims = claims
        self._aliases = aliases
        self._jobs = jobs
        self._tallies = tallies
        self._taps = taps
        self._dead_letters = dead_letters
        self._damage = damage
        self._operator = operator
        self._api_keys = api_keys
        self._audit = audit
        self._node_status = node_status
        self._meta = meta
        self._times = times
        self._parts = parts
        self._held = held

    @classmethod
    async def connect(
        cls,
        settings: CassandraSettings,
        *,
        now_ms: Callable[[], int] = _SYSTEM_CLOCK.now_ms,
        boot_ms: Callable[[], int] = _SYSTEM_CLOCK.boot_ms,
    ) -> Self:
        """Connect to a cluster whose schema is this Ringtime's.

        Raises:
            StartupError: no node answers, the login is wrong, or `migrate` must be run first.
        """
        session = await CqlSession.connect(settings, now_ms)
        try:
            return await cls.on_session(
                session, now_ms=now_ms, boot_ms=boot_ms, has_receipts=settings.receipts
            )
        except StoreUnavailable as error:
            await session.close()
            raise StartupError(f"Cassandra does not answer: {error}") from error
        except BaseException:
            await session.close()
            raise

    @classmethod
    async def on_session(
        cls,
        session: CqlSession,
        *,
        now_ms: Callable[[], int],
        boot_ms: Callable[[], int] = _SYSTEM_CLOCK.boot_ms,
        has_receipts: bool = True,
    ) -> Self:
        """Check the schema and prepare the statements."""
        await check_schema(session)
        meta = await MetaTable.prepare(session, now_ms)
        parts = await PartTable.prepare(session, now_ms)
        try:
            held = HeldParts(parts.fetch_parts, boot_ms, await parts.fetch_parts())
        except Damaged as error:
            raise StartupError(f"keyspace {session.keyspace!r}: {error}") from error
        expiries: Known[int] = Known(EXPIRIES)
        arrivals = await Arrivals.prepare(session, held, now_ms)
        marks = await MarkTable.prepare(session)
        calendars = await Calendars.prepare(session)
        app_changes = await AppChangeTables.prepare(session, now_ms)
        return cls(
            session,
            await Schedules.prepare(session, held, expiries, arrivals, now_ms, has_receipts=has_receipts),
            await Due.prepare(session, held, expiries),
            arrivals,
            await Apps.prepare(session, marks, meta, app_changes, now_ms),
            app_changes,
            marks,
            await Recurring.prepare(session, calendars),
            calendars,
            await Claims.prepare(session, now_ms),
            await AliasTable.prepare(session, now_ms),
            await JobTables.prepare(session, now_ms),
            await Tallies.prepare(session, now_ms),
            await Taps.prepare(session, now_ms),
            await DeadLetters.prepare(session, now_ms),
            await DamageTable.prepare(session),
            await OperatorReads.prepare(session),
            await ApiKeyTable.prepare(session),
            await AuditTables.prepare(session, now_ms),
            await NodeStatusTable.prepare(session, now_ms),
            meta,
            await HostTimes.prepare(session, boot_ms),
            parts,
            held,
        )

    async def close(self) -> None:
        await self._arrivals.close()
        await self._held.close()
        await self._session.close()

    async def create_app(self, app: App) -> App:
        return await self._apps.create_app(app)

    async def fetch_app(self, app_id: str) -> App | None:
        return await self._apps.fetch_app(app_id)

    async def fetch_apps(self) -> list[App]:
        return await self._apps.fetch_apps()

    async def count_apps(self) -> AppCounts:
        return await self._apps.count_apps()

    async def replace_app(self, app: App) -> None:
        await self._apps.replace_app(app)

    async def delete_app(self, app: App) -> None:
        await self._dead_letters.delete_all(app)
        await self._recurring.delete_all(app.app_id)
        await self._calendars.delete_all(app.app_id)
        await self._apps.delete_app(app)

    async def count_app_changes(self) -> int:
        return await self._app_changes.count()

    async def fetch_app_changes(self, after_ms: int) -> list[AppChange]:
        return await self._app_changes.fetch(after_ms)

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        return await self._apps.fetch_some_apps(app_ids)

    async def announce_app(self, app_id: str) -> None:
        await self._app_changes.announce(app_id)

    async def replace_contents(self, before: Row, after: Row) -> bool:
        return await self._schedules.replace_contents(before, after)

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return await self._due.fetch_rows(queries)

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        return await self._due.fetch_index(first, last, groups)

    async def fetch_receipts(self, entry: IndexEntry, after: bytes | None, limit: int) -> ReceiptPage:
        return await self._operator.fetch_receipts(entry, after, limit)

    async def fetch_moved(self, first: int, last: int, app_id: str = "") -> list[IndexEntry]:
        return await self._operator.fetch_moved(first, last, app_id)

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        return await self._arrivals.fetch(after_ms, groups)

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return await self._due.fetch_due(queries)

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[IdPage]:
        return await self._due.fetch_live_ids(queries)

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        return await self._marks.fetch_marks(instances)

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        await self._marks.put_marks(writes)

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        return await self._recurring.fetch_definition(key)

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        return await self._recurring.fetch_definitions(keys)

    async def replace_definition(self, definition: Definition) -> None:
        await self._recurring.replace_definition(definition)

    async def put_tallies(self, tallies: Sequence[Tally]) -> None:
        await self._tallies.put_tallies(tallies)

    async def fetch_tallies(self, app_number: int, from_day: int) -> list[Tally]:
        return await self._tallies.fetch_tallies(app_number, from_day)

    async def put_tap(self, tap: Tap) -> None:
        await self._taps.put_tap(tap)

    async def fetch_taps(self, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
        return await self._taps.fetch_taps(app_id, bucket, after, limit)

    async def fetch_calendars(self, app_id: str) -> list[Calendar]:
        return await self._calendars.fetch_calendars(app_id)

    async def replace_calendar(self, calendar: Calendar) -> None:
        await self._calendars.replace_calendar(calendar)

    async def drop_calendar(self, calendar: Calendar) -> None:
        await self._calendars.drop_calendar(calendar)

    async def drop_definition(self, definition: Definition) -> None:
        await self._recurring.drop_definition(definition)

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        return await self._recurring.list_definitions(app_id, after, limit)

    async def fetch_runs(
        self, key: DefinitionKey, from_ms: int, upto_ms: int, limit: int, *, newest_first: bool = False
    ) -> list[RunEntry]:
        return await self._recurring.fetch_runs(key, from_ms, upto_ms, limit, newest_first=newest_first)

    async def fetch_claim(self, key: ClaimKey) -> Claim | None:
        return await self._claims.fetch_claim(key)

    async def replace_claim(self, claim: Claim, before: Claim | None) -> Claim:
        return await self._claims.replace_claim(claim, before)

    async def put_aliases(self, aliases: Sequence[Alias]) -> None:
        await self._aliases.put_aliases(aliases)

    async def fetch_aliases(self, aliases: Sequence[UUID]) -> dict[UUID, UUID]:
        return await self._aliases.fetch_aliases(aliases)

    async def replace_job(self, job: Job) -> None:
        await self._jobs.replace_job(job)

    async def fetch_job(self, key: JobKey) -> Job | None:
        return await self._jobs.fetch_job(key)

    async def list_jobs(self, app_id: str, before: UUID | None, limit: int) -> list[Job]:
        return await self._jobs.list_jobs(app_id, before, limit)

    async def fetch_open_jobs(self, limit: int) -> list[Job]:
        return await self._jobs.fetch_open_jobs(limit)

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        await self._dead_letters.put_dead_letters(letters)

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        return await self._dead_letters.fetch_dead_letters(app_id, after, upto_ms, limit)

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        await self._dead_letters.put_replayed(app_id, keys, replayed_ms)

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        return await self._dead_letters.count_dead_letters(app_id, from_ms, upto_ms)

    async def put_damage(self, notes: Sequence[Damage]) -> None:
        await self._damage.put_damage(notes)

    async def fetch_damage(self, limit: int) -> list[Damage]:
        return await self._damage.fetch_damage(limit)

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]:
        return await self._operator.fetch_app_buckets(app_id, first, last, limit)

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]:
        return await self._operator.fetch_first_buckets(app_ids, first, last, limit)

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        return await self._operator.count_live(entries, most)

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        return await self._operator.fetch_last_slots(entries)

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        return await self._marks.fetch_terms(instances)

    async def put_audit(self, entry: AuditEntry) -> None:
        await self._audit.put_audit(entry)

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
        return await self._audit.fetch_audit(
            from_ms, upto_ms, limit, app_id=app_id, after=after, is_oldest_first=is_oldest_first
        )

    async def put_node_status(self, status: NodeStatus) -> None:
        await self._node_status.put_node_status(status)

    async def fetch_node_statuses(self) -> list[NodeStatus]:
        return await self._node_status.fetch_node_statuses()

    async def drop_node_status(self, node: str) -> None:
        await self._node_status.drop_node_status(node)

    async def put_key(self, key: ApiKey) -> None:
        await self._api_keys.put_key(key)

    async def fetch_key(self, key_id: str) -> ApiKey | None:
        return await self._api_keys.fetch_key(key_id)

    async def list_keys(self, after: str, limit: int) -> list[ApiKey]:
        return await self._api_keys.list_keys(after, limit)

    async def revoke_key(self, key_id: str, at_ms: int) -> None:
        await self._api_keys.revoke_key(key_id, at_ms)

    async def retire_key(self, key_id: str, at_ms: int) -> None:
        await self._api_keys.retire_key(key_id, at_ms)

    async def note_key_use(self, key_id: str, at_ms: int) -> None:
        await self._api_keys.note_key_use(key_id, at_ms)

    async def drop_key(self, key_id: str) -> None:
        await self._api_keys.drop_key(key_id)

    async def fetch_schema(self) -> tuple[int, int]:
        return await self._operator.fetch_schema()

    async def claim_nonce(self, holder: str) -> int:
        return await self._meta.claim_nonce(holder)

    async def note_restore(self, sent_until_ms: int, nonces: int) -> None:
        await self._meta.note_restore(sent_until_ms, nonces)

    async def fetch_sent_until(self) -> int:
        return await self._meta.fetch_sent_until()

    async def raise_era(self, identity: str) -> int:
        return await self._meta.raise_era(identity)

    async def fetch_parts(self) -> PartMap:
        return await self._parts.fetch_parts()

    async def replace_parts(self, parts: PartMap) -> None:
        await self._parts.replace_parts(parts)

    async def copy_entries(self, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        return await self._parts.copy_entries(written, cursor, kept_ms)

    async def fetch_times(self) -> Sequence[ServerTime]:
        return await self._times.fetch()

    async def check_ready(self) -> None:
        await self._meta.check_ready()

    async def ping(self) -> None:
        await self._meta.ping()
