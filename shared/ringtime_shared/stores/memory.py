"""The reference driver: plain dictionaries, nothing survives the process. Read it as the specification."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from uuid import UUID

from ringtime_shared.access.keys import ApiKey
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import ServerTime
from ringtime_shared.errors import AppExists, Damaged, NotFound
from ringtime_shared.ids import MAX_NONCES
from ringtime_shared.models.alias import Alias
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job, JobKey
from ringtime_shared.models.node_status import KEPT_MS, NodeStatus
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.shadow import Tap
from ringtime_shared.models.tally import Tally
from ringtime_shared.parts import CopyPage, PartMap, group_of, part_of, parts_of
from ringtime_shared.recurring.calendars import with_calendars
from ringtime_shared.stores.arrivals import RecentArrivals
from ringtime_shared.stores.protocol import (
    LAST_ID,
    RECEIPT_MARGIN_MS,
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
    calendar_conflict,
    definition_conflict,
    drop_conflict,
    first_marks,
    is_listed_run,
    is_receipted,
    job_conflict,
    parts_conflict,
    version_conflict,
)
from ringtime_shared.stores.status_codec import bounded

Bucket = tuple[str, int, int]  # app id, partition, bucket
_CHANGES_KEPT = 1_000
_IS_LIVE: Callable[[Row], bool] = attrgetter("is_live")


class MemoryStore:
    """Implements every store protocol. Not for threads."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._apps: dict[str, App] = {}
        self._numbers = 0
        self._app_changes = 0
        self._last_app_changes: deque[AppChange] = deque(maxlen=_CHANGES_KEPT)
        self._rows: dict[Place, dict[UUID, Row]] = defaultdict(dict)
        self._keys: dict[Bucket, list[Position]] = defaultdict(list)
        self._parts = PartMap()
        self._index: dict[tuple[int, int], set[Instance]] = defaultdict(set)  # by bucket and part
        self._app_buckets: dict[int, set[Instance]] = defaultdict(set)
        self._arrivals = RecentArrivals()
        self._marks: dict[Instance, tuple[int, Marks]] = {}
        self._definitions: dict[DefinitionKey, Definition] = {}
        self._calendars: dict[str, dict[str, Calendar]] = defaultdict(dict)  # by app and name
        self._moved: dict[IndexEntry, None] = {}
        self._receipts: dict[IndexEntry, dict[bytes, int]] = defaultdict(dict)  # until when each is told
        self._runs: dict[DefinitionKey, list[RunEntry]] = defaultdict(list)
        self._claims: dict[ClaimKey, Claim] = {}
        self._aliases: dict[UUID, UUID] = {}
        self._jobs: dict[JobKey, Job] = {}
        self._tallies: dict[tuple[int, int, int], int] = {}  # by app, day and holder
        self._taps: dict[tuple[str, int], dict[TapKey, Tap]] = defaultdict(dict)  # by app and bucket
        self._letters: dict[str, dict[Position, DeadLetter]] = defaultdict(dict)
        self._damage: dict[tuple[str, str], Damage] = {}
        self._audit: dict[UUID, AuditEntry] = {}
        self._statuses: dict[str, tuple[int, NodeStatus]] = {}  # by node: until when it is kept, and it
        self._api_keys: dict[str, ApiKey] = {}
        self._nonces = 0
        self._sent_until_ms = 0
        self._era = (0, "")

    async def create_app(self, app: App) -> App:
        if app.app_id in self._apps:
            raise AppExists(f"app {app.app_id} is registered already")
        stored = replace(app, number=self._numbers)
        self._numbers += 1
        self._apps[app.app_id] = stored
        for instance, first in first_marks(app.app_id, range(app.polled), app.created_ms).items():
            term, marks = self._marks.get(instance, (0, first))
            self._marks[instance] = (term, Marks(*map(max, marks, first)))
        await self.announce_app(app.app_id)
        return stored

    async def fetch_app(self, app_id: str) -> App | None:
        return self._apps.get(app_id)

    async def fetch_apps(self) -> list[App]:
        return [self._apps[app_id] for app_id in sorted(self._apps)]

    async def count_apps(self) -> AppCounts:
        return AppCounts(len(self._apps), sum(app.polled for app in self._apps.values()))

    async def replace_app(self, app: App) -> None:
        stored = self._apps.get(app.app_id)
        if stored is None:
            raise NotFound("app", app.app_id)
        if stored == app:
            await self.announce_app(app.app_id)
            return
        if (stored.number, stored.version) != (app.number, app.version - 1):
            raise version_conflict(stored, app.version - 1)
        gained = range(stored.polled, app.polled)
        for instance, first in first_marks(app.app_id, gained, self._now_ms()).items():
            self._marks.setdefault(instance, (0, first))
        self._apps[app.app_id] = app
        await self.announce_app(app.app_id)

    async def delete_app(self, app: App) -> None:
        stored = self._apps.get(app.app_id)
        if stored is not None and stored.number == app.number:
            if stored.version != app.version:
                raise version_conflict(stored, app.version)
            del self._apps[app.app_id]
            self._letters.pop(app.app_id, None)
            for key in [key for key in self._definitions if key.app_id == app.app_id]:
                del self._definitions[key]
            self._calendars.pop(app.app_id, None)
        await self.announce_app(app.app_id)

    async def count_app_changes(self) -> int:
        return self._app_changes

    async def fetch_app_changes(self, after_ms: int) -> list[AppChange]:
        return [change for change in self._last_app_changes if change.changed_ms > after_ms]

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        return [self._apps[app_id] for app_id in set(app_ids) if app_id in self._apps]

    async def announce_app(self, app_id: str) -> None:
        change = AppChange(self._now_ms(), app_id)
        self._last_app_changes.append(change)
        self._app_changes += change.weight

    async def put_rows(self, rows: Sequence[Row]) -> None:
        await self.file_rows(rows, self._parts.written)

    async def file_rows(self, rows: Sequence[Row], count: int) -> None:
        """`put_rows` of a process that holds a part map in which this count is written; see `parts`."""
        for row in rows:
            place, schedule_id = row.place, row.schedule.schedule_id
            self._index[place.bucket, _part_of(place.instance, count)].add(place.instance)
            self._app_buckets[place.bucket].add(place.instance)
            if is_receipted(row):
                told = self._receipts[IndexEntry(place.bucket, place.instance)]
                upto_ms = row.schedule.expires_ms - RECEIPT_MARGIN_MS
                told[schedule_id.bytes] = max(told.get(schedule_id.bytes, 0), upto_ms)
            run = row.schedule.run
            if run is not None and is_listed_run(row):
                runs = self._runs[DefinitionKey(place.app_id, run.recurring_id)]
                entry = RunEntry(run.nominal_ms, schedule_id)
                at = bisect_left(runs, entry)
                if runs[at : at + 1] != [entry]:
                    runs.insert(at, entry)
            stored = self._rows[place].get(schedule_id)
            if stored is None:
                self._rows[place][schedule_id] = row
                insort(self._keys[place.app_id, place.partition, place.bucket], _key_of(row))
            elif stored.schedule.expires_ms < row.schedule.expires_ms:
                longer = replace(stored.schedule, expires_ms=row.schedule.expires_ms)
                self._rows[place][schedule_id] = replace(stored, schedule=longer)
        self._arrivals.announce([row.place for row in rows], self._now_ms())

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        return self._rows.get(place, {}).get(schedule_id)

    async def put_cancel(
        self, place: Place, schedule_id: UUID, cancelled_ms: int, expires_ms: int | None = None
    ) -> None:
        row = self._rows.get(place, {}).get(schedule_id)
        if row is not None and row.cancelled_ms is None:
            self._rows[place][schedule_id] = replace(row, cancelled_ms=cancelled_ms)

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        for update in updates:
            row = self._rows.get(update.place, {}).get(update.schedule_id)
            if row is not None and not update.written:
                if update.moved_to is not None:
                    self._moved[IndexEntry(update.place.bucket, update.place.instance)] = None
                self._rows[update.place][update.schedule_id] = replace(
                    row, moved_to=update.moved_to or row.moved_to, outcome=update.outcome or row.outcome
                )
            update.written = 1

    async def replace_contents(self, before: Row, after: Row) -> bool:
        rows, schedule_id = self._rows.get(before.place, {}), before.schedule.schedule_id
        row = rows.get(schedule_id)
        if row is None or _contents_of(row) not in (_contents_of(before), _contents_of(after)):
            return False
        details, payload, sending = _contents_of(after)
        schedule = replace(row.schedule, callback_details=details, payload=payload, sending=sending)
        rows[schedule_id] = replace(row, schedule=schedule)
        return True

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return [self._page(query, lambda _: True) for query in queries]

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        return await self.read_index(first, last, groups, self._parts.read)

    async def read_index(
        self, first: int, last: int, groups: Collection[int] | None, counts: Collection[int]
    ) -> list[IndexEntry]:
        """`fetch_index` of a process that holds a part map in which these counts are read."""
        parts = parts_of(groups, counts)
        return [
            IndexEntry(bucket, instance)
            for bucket in range(first, last + 1)
            for instance in sorted(set().union(*(self._index.get((bucket, part), ()) for part in parts)))
        ]

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        return [self._page(query) for query in queries]

    async def fetch_receipts(self, entry: IndexEntry, after: bytes | None, limit: int) -> ReceiptPage:
        told, now_ms = self._receipts.get(entry, {}), self._now_ms()
        keys = sorted(key for key in told if after is None or key > after)[:limit]
        ids = [UUID(bytes=key) for key in keys if told[key] > now_ms]
        return ReceiptPage(ids, keys[-1] if len(keys) == limit else None)

    async def fetch_moved(self, first: int, last: int, app_id: str = "") -> list[IndexEntry]:
        return sorted(
            each
            for each in self._moved
            if first <= each.bucket <= last and app_id in ("", each.instance.app_id)
        )

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        count, arrivals = self._parts.written, self._arrivals.since(after_ms)
        if not arrivals:
            return arrivals
        parts = set(parts_of(groups, [count]))
        return [each for each in arrivals if _part_of(each.instance, count) in parts]

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[IdPage]:
        pages = [self._page(query) for query in queries]
        return [IdPage([_key_of(row) for row in page.rows], page.next) for page in pages]

    def _page(self, query: DueQuery, is_asked_for: Callable[[Row], bool] = _IS_LIVE) -> DuePage:
        rows: list[Row] = []
        for count, (key, row) in enumerate(self._range(query), start=1):
            if is_asked_for(row):
                rows.append(row)
            if count == query.limit:
                return DuePage(rows, key)
        return DuePage(rows, None)

    def _range(self, query: DueQuery) -> Iterator[tuple[Position, Row]]:
        app_id, partition = query.instance
        keys = self._keys.get((app_id, partition, query.bucket), [])
        upto_ms = min(query.upto_ms, last_slot(query.bucket))
        for key in keys[bisect_right(keys, query.after) :]:
            if key.slot_ms > upto_ms:
                return
            yield key, self._rows[Place(app_id, partition, key.slot_ms)][key.schedule_id]

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        return {instance: self._marks[instance][1] for instance in instances if instance in self._marks}

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        for instance, term, marks in writes:
            stored_term, stored = self._marks.get(instance, (-1, marks))
            if term > stored_term:
                self._marks[instance] = (term, marks)
            elif term == stored_term:
                self._marks[instance] = (term, Marks(*map(max, stored, marks)))

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        definition = (await self.fetch_definitions([key])).get(key)
        if definition is not None and definition.damage:
            raise Damaged("recurring schedule", str(key.recurring_id), definition.damage)
        return definition

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        return {key: self._with_calendars(key) for key in keys if key in self._definitions}

    def _with_calendars(self, key: DefinitionKey) -> Definition:
        definition = self._definitions[key]
        return with_calendars(definition, self._calendars.get(key.app_id, {}))

    async def replace_definition(self, definition: Definition) -> None:
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        stored = self._definitions.get(key)
        if stored == definition:
            return
        if (stored.revision if stored is not None else 0) != definition.revision - 1:
            raise definition_conflict(stored, definition)
        self._definitions[key] = definition

    async def drop_definition(self, definition: Definition) -> None:
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        stored = self._definitions.get(key)
        if stored is not None and stored.revision != definition.revision:
            raise drop_conflict(stored, definition)
        self._definitions.pop(key, None)

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        keys = sorted(
            key
            for key in self._definitions
            if key.app_id == app_id and (after is None or key.recurring_id > after)
        )
        return [self._with_calendars(key) for key in keys[:limit]]

    async def fetch_calendars(self, app_id: str) -> list[Calendar]:
        stored = self._calendars.get(app_id, {})
        return [stored[name] for name in sorted(stored)]

    async def replace_calendar(self, calendar: Calendar) -> None:
        stored = self._calendars[calendar.app_id].get(calendar.name)
        if stored == calendar:
            return
        if (0 if stored is None else stored.revision) != calendar.revision - 1:
            raise calendar_conflict(stored, calendar)
        self._calendars[calendar.app_id][calendar.name] = calendar

    async def drop_calendar(self, calendar: Calendar) -> None:
        stored = self._calendars[calendar.app_id].get(calendar.name)
        if stored is not None and stored.revision != calendar.revision:
            raise calendar_conflict(stored, calendar)
        self._calendars[calendar.app_id].pop(calendar.name, None)

    async def fetch_runs(
        self, key: DefinitionKey, from_ms: int, upto_ms: int, limit: int, *, newest_first: bool = False
    ) -> list[RunEntry]:
        runs = [each for each in self._runs.get(key, ()) if from_ms <= each.nominal_ms <= upto_ms]
        return (runs[::-1] if newest_first else runs)[:limit]

    async def fetch_claim(self, key: ClaimKey) -> Claim | None:
        return self._claims.get(key)

    async def replace_claim(self, claim: Claim, before: Claim | None) -> Claim:
        stored = self._claims.get(claim.key)
        if stored is not None and stored != before:
            return stored
        self._claims[claim.key] = claim
        return claim

    async def put_aliases(self, aliases: Sequence[Alias]) -> None:
        self._aliases |= {each.alias: each.schedule_id for each in aliases}

    async def fetch_aliases(self, aliases: Sequence[UUID]) -> dict[UUID, UUID]:
        return {alias: self._aliases[alias] for alias in aliases if alias in self._aliases}

    async def put_tallies(self, tallies: Sequence[Tally]) -> None:
        self._tallies |= {(number, day, holder): rows for number, day, holder, rows in tallies}

    async def fetch_tallies(self, app_number: int, from_day: int) -> list[Tally]:
        return [
            Tally(*key, rows)
            for key, rows in sorted(self._tallies.items())
            if key[0] == app_number and key[1] >= from_day
        ]

    async def put_tap(self, tap: Tap) -> None:
        self._taps[tap.app_id, bucket_of(tap.fire_ms)][TapKey(tap.schedule_id, tap.tap_id)] = tap

    async def fetch_taps(self, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
        found = sorted(self._taps.get((app_id, bucket), {}).items())
        return [tap for key, tap in found if after is None or key > after][:limit]

    async def replace_job(self, job: Job) -> None:
        stored = self._jobs.get(job.key)
        if stored == job:
            return
        if (stored.revision if stored is not None else 0) != job.revision - 1:
            raise job_conflict(stored, job)
        self._jobs[job.key] = job

    async def fetch_job(self, key: JobKey) -> Job | None:
        return self._jobs.get(key)

    async def list_jobs(self, app_id: str, before: UUID | None, limit: int) -> list[Job]:
        keys = sorted(
            (key for key in self._jobs if key.app_id == app_id and (before is None or key.job_id < before)),
            reverse=True,
        )
        return [self._jobs[key] for key in keys[:limit]]

    async def fetch_open_jobs(self, limit: int) -> list[Job]:
        jobs = sorted((job for job in self._jobs.values() if job.is_open), key=attrgetter("job_id"))
        return jobs[:limit]

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            key = Position(letter.slot_ms, letter.schedule_id)
            known = self._letters[letter.app_id].get(key)
            replayed_ms = known.replayed_ms if known is not None else None
            self._letters[letter.app_id][key] = replace(letter, replayed_ms=replayed_ms)

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        letters = self._letters.get(app_id, {})
        keys = sorted(key for key in letters if after < key and key.slot_ms <= upto_ms)
        return [letters[key] for key in keys[:limit]]

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        letters = self._letters.get(app_id, {})
        for key in keys:
            if key in letters:
                letters[key] = replace(letters[key], replayed_ms=replayed_ms)

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        letters = self._letters.get(app_id, {}).values()
        return sum(each.replayed_ms is None and from_ms <= each.slot_ms <= upto_ms for each in letters)

    async def put_damage(self, notes: Sequence[Damage]) -> None:
        for note in notes:
            self._damage.setdefault((note.table, note.key), note)

    async def fetch_damage(self, limit: int) -> list[Damage]:
        return sorted(self._damage.values(), key=lambda note: note.found_ms, reverse=True)[:limit]

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]:
        entries = (
            IndexEntry(bucket, instance)
            for bucket in sorted(self._app_buckets)
            if first <= bucket <= last
            for instance in sorted(self._app_buckets[bucket])
            if instance.app_id == app_id
        )
        return list(islice(entries, limit))

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]:
        found = {each: await self.fetch_app_buckets(each, first, last, limit) for each in app_ids}
        return {app_id: entries for app_id, entries in found.items() if entries}

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        return [min(sum(row.is_live for row in self._rows_of(entry)), most) for entry in entries]

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        return [max((row.place.slot_ms for row in self._rows_of(entry)), default=None) for entry in entries]

    def _rows_of(self, entry: IndexEntry) -> Iterator[Row]:
        before = Position(first_slot(entry.bucket) - 1, LAST_ID)
        query = DueQuery(entry.instance, entry.bucket, before, last_slot(entry.bucket), limit=1)
        return (row for _, row in self._range(query))

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        return {instance: self._marks[instance][0] for instance in instances if instance in self._marks}

    async def put_audit(self, entry: AuditEntry) -> None:
        self._audit.setdefault(entry.entry_id, entry)

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
        entries = [
            entry
            for entry in self._audit.values()
            if from_ms <= entry.at_ms <= upto_ms
            and app_id in ("", entry.app_id)
            and (after is None or (entry.key > after if is_oldest_first else entry.key < after))
        ]
        return sorted(entries, key=lambda entry: entry.key, reverse=not is_oldest_first)[:limit]

    async def put_node_status(self, status: NodeStatus) -> None:
        self._statuses[status.node] = self._now_ms() + KEPT_MS, bounded(status)

    async def fetch_node_statuses(self) -> list[NodeStatus]:
        now_ms = self._now_ms()
        self._statuses = {node: kept for node, kept in self._statuses.items() if kept[0] > now_ms}
        return [self._statuses[node][1] for node in sorted(self._statuses)]

    async def drop_node_status(self, node: str) -> None:
        self._statuses.pop(node, None)

    async def put_key(self, key: ApiKey) -> None:
        self._api_keys.setdefault(key.key_id, key)

    async def fetch_key(self, key_id: str) -> ApiKey | None:
        return self._api_keys.get(key_id)

    async def list_keys(self, after: str, limit: int) -> list[ApiKey]:
        return [self._api_keys[key_id] for key_id in sorted(self._api_keys) if key_id > after][:limit]

    async def revoke_key(self, key_id: str, at_ms: int) -> None:
        if key_id not in self._api_keys:
            raise NotFound("key", key_id)
        self._api_keys[key_id] = replace(self._api_keys[key_id], revoked_ms=at_ms)

    async def retire_key(self, key_id: str, at_ms: int) -> None:
        if key_id not in self._api_keys:
            raise NotFound("key", key_id)
        self._api_keys[key_id] = replace(self._api_keys[key_id], retires_ms=at_ms)

    async def note_key_use(self, key_id: str, at_ms: int) -> None:
        if key_id in self._api_keys:
            self._api_keys[key_id] = replace(self._api_keys[key_id], used_ms=at_ms)

    async def drop_key(self, key_id: str) -> None:
        self._api_keys.pop(key_id, None)

    async def fetch_schema(self) -> tuple[int, int]:
        return 1, 1  # there is none, so none can be older or newer

    async def claim_nonce(self, holder: str) -> int:
        self._nonces += 1
        return (self._nonces - 1) % MAX_NONCES

    async def note_restore(self, sent_until_ms: int, nonces: int) -> None:
        self._nonces += nonces
        self._sent_until_ms = sent_until_ms

    async def fetch_sent_until(self) -> int:
        return self._sent_until_ms

    async def raise_era(self, identity: str) -> int:
        if self._era[1] != identity:
            self._era = (self._era[0] + 1, identity)
        return self._era[0]

    async def fetch_parts(self) -> PartMap:
        return self._parts

    async def replace_parts(self, parts: PartMap) -> None:
        if parts == self._parts:
            return
        if parts.version - 1 != self._parts.version:
            raise parts_conflict(self._parts, parts)
        self._parts = parts

    async def copy_entries(self, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        """One minute at a time; the cursor is its bucket."""
        buckets = sorted({bucket for bucket, _ in self._index})
        left = [bucket for bucket in buckets if cursor is None or bucket > int(cursor)]
        if not left:
            return CopyPage(None, 1.0, 0)
        bucket, copied = left[0], 0
        for instance in self._entries(bucket):
            entries = self._index[bucket, _part_of(instance, written)]
            copied += instance not in entries
            entries.add(instance)
        return CopyPage(str(bucket), 1 - (len(left) - 1) / len(buckets), copied)

    def _entries(self, bucket: int) -> set[Instance]:
        return set().union(*(entries for (each, _), entries in self._index.items() if each == bucket))

    async def fetch_times(self) -> Sequence[ServerTime]:
        return ()

    async def check_ready(self) -> None:
        return

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        return


def _contents_of(row: Row) -> tuple[bytes, str, Sending | None]:
    schedule = row.schedule
    return schedule.callback_details, schedule.payload, schedule.sending


@lru_cache(maxsize=10_000)  # every look for arrivals asks for each of them
def _part_of(instance: Instance, count: int) -> int:
    return part_of(group_of(str(instance)), count)


def _key_of(row: Row) -> Position:
    return Position(row.place.slot_ms, row.schedule.schedule_id)
