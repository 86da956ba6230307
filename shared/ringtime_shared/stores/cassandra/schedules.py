"""Operations of `ScheduleStore` and `DueStore`.

A fetch of rows is few statements: one for queries that differ in their app alone, where due rows are asked
for, or in their partition alone, where an app's rows are; many statements at once.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, Self, TypeVar
from uuid import UUID

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.parts import HeldParts, group_of, part_of, parts_of
from ringtime_shared.stores.arrivals import SLOW_WRITE_MS, announced_below
from ringtime_shared.stores.cassandra.arrivals import Arrivals
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.lwt import change
from ringtime_shared.stores.cassandra.recurring import PUT_RUN, run_entry
from ringtime_shared.stores.cassandra.rows import (
    CONTENTS,
    CREATED,
    CREATED_AND_EXTRAS,
    IS_DONE,
    LATER_MARGIN_MS,
    WRITTEN_LATER,
    minute_key,
    pack_int,
    pack_key,
    pack_long,
    pack_minute,
    pack_tuple,
    read_live_rows,
    read_rows,
    receipt_wire,
    routing_key,
    row_end_ms,
    row_wire,
    to_row,
    to_values,
    ttl_s,
    update_wire,
)
from ringtime_shared.stores.cassandra.session import (
    PARTITIONS_AT_ONCE,
    CqlSession,
    Item,
    Prepared,
    Query,
    Values,
    alike,
    make_batches,
    pack_list,
)
from ringtime_shared.stores.codec.rows import encode_outcome, encode_row_extras
from ringtime_shared.stores.protocol import (
    LAST_ID,
    RECEIPT_MARGIN_MS,
    DuePage,
    DueQuery,
    IdPage,
    IndexEntry,
    Position,
    is_listed_run,
    is_receipted,
)

K = TypeVar("K", bound=Hashable)

INDEX_ENTRIES = 50_000  #: about 10 MB; one is a poller instance in a minute
EXPIRIES = 100_000  #: about 20 MB; one is a schedule that was read here


class Known(Generic[K]):
    """What this process knows to be stored: numbers by key, the oldest forgotten first.

    Bounded; forgetting costs a statement, never a row.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Not a dict: to find the first key of one whose first keys were deleted it walks past their places,
        # of which there are tens of thousands here.
        self._numbers: OrderedDict[K, int] = OrderedDict()

    def get(self, key: K) -> int | None:
        return self._numbers.get(key)

    def add(self, key: K, number: int) -> None:
        """Remember one, as the newest unless it was known already."""
        known = self._numbers
        known[key] = number
        if len(known) > self._limit:
            known.popitem(last=False)

    def update(self, numbers: Mapping[K, int]) -> None:
        """Remember `numbers`, as the newest."""
        known = self._numbers
        for key, number in numbers.items():
            known[key] = number
            known.move_to_end(key)
        while len(known) > self._limit:
            known.popitem(last=False)


ROWS_PER_BATCH = 64
PARTS_AT_ONCE = 1_000  #: of the index, read side by side
UPDATES_PER_BATCH = 100
MINUTES_PER_DAY = 1_440
_NEVER_MS = 1 << 62

IndexKey = tuple[int, str, int]  # bucket, app id, partition

_BY_KEY = "WHERE app_id = ? AND partition = ? AND bucket = ? AND slot_ms = ? AND schedule_id = ?"
_PUT_ROW = (
    f"INSERT INTO $schedules (app_id, partition, bucket, {CREATED})"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
# A statement of its own, because a null in the other would be a tombstone in nearly every row.
_PUT_ROW_AND_EXTRAS = (
    f"INSERT INTO $schedules (app_id, partition, bucket, {CREATED_AND_EXTRAS})"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
_ENDING = "USING TTL ? AND TIMESTAMP ?"
# The timestamp is the time the entry ends: of two writes of one entry the one that ends later wins.
PUT_INDEX = f"INSERT INTO $due_index (bucket, shard, app_id, partition) VALUES (?, ?, ?, ?) {_ENDING}"
PUT_RECEIPT = "INSERT INTO $receipts (app_id, partition, bucket, ids) VALUES (?, ?, ?, ?) USING TTL ?"
_PUT_APP_BUCKET = f"INSERT INTO $app_buckets (app_id, day, bucket, partition) VALUES (?, ?, ?, ?) {_ENDING}"
_PUT_MOVED = f"INSERT INTO $moved (hour, app_id, bucket, partition) VALUES (?, ?, ?, ?) {_ENDING}"
_GET_ROW = f"SELECT {CONTENTS} FROM $schedules {_BY_KEY}"
_GET_EXPIRY = f"SELECT expires_ms, cancelled_ms, created_ms, fire_ms FROM $schedules {_BY_KEY}"
_PUT_CANCEL = f"UPDATE $schedules USING TTL ? SET cancelled_ms = ? {_BY_KEY}"
# The timestamp is that of the first time: what is written again takes no effect over what came since.
_PUT_MOVE = f"UPDATE $schedules {_ENDING} SET moved_to = ? {_BY_KEY}"
_PUT_OUTCOME = f"UPDATE $schedules {_ENDING} SET outcome = ? {_BY_KEY}"

_GET_TEXTS = f"SELECT callback_details, payload, expires_ms, TTL(expires_ms) FROM $schedules {_BY_KEY}"
# All that a create writes, or some of a row would be left when the rest of it has ended.
_REPLACE_CONTENTS = (
    "UPDATE $schedules USING TTL ? SET fire_ms = ?, created_ms = ?, expires_ms = ?, attempts = ?,"
    f" callback_type = ?, callback_details = ?, payload = ?, extras = ? {_BY_KEY}"
    " IF callback_details = ? AND payload = ? AND expires_ms = ?"
)


class _Minute:
    """A minute of a poller instance that rows are filed in together."""

    __slots__ = ("entry_end_ms", "instance", "is_indexed", "receipt_end_ms", "routing", "wire")

    def __init__(self, key: IndexKey, entry_end_ms: int) -> None:
        bucket, app_id, partition = key
        app = app_id.encode()
        self.instance = Instance(app_id, partition)
        self.wire = pack_minute(app, partition, bucket)
        self.routing = minute_key(app, partition, bucket)
        self.entry_end_ms = entry_end_ms  #: of its entry in the index; 0: none is known
        self.is_indexed = False  #: by these rows, or for longer
        self.receipt_end_ms = _NEVER_MS  #: when the first of the rows ends that its receipt tells of


class Schedules:
    """`ScheduleStore` on one session."""

    def __init__(
        self,
        session: CqlSession,
        statements: Sequence[Prepared],
        parts: HeldParts,
        expiries: Known[int],
        arrivals: Arrivals,
        now_ms: Callable[[], int],
        *,
        has_receipts: bool,
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._has_receipts = has_receipts
        (
            self._put_row,
            self._put_row_and_extras,
            self._put_index,
            self._put_app_bucket,
            self._put_run,
            self._put_receipt,
            self._put_moved,
            self._get_row,
            self._get_expiry,
            self._put_cancel,
            self._put_move,
            self._put_outcome,
            self._replace_contents,
            self._get_texts,
        ) = statements
        self._parts = parts
        self._expiries = expiries
        self._arrivals = arrivals
        self._now_ms = now_ms
        self._moved: Known[IndexKey] = Known(INDEX_ENTRIES)  # until when an acknowledged note lasts
        self._indexed_under = 0  # this part count
        self._indexed: Known[IndexKey] = Known(INDEX_ENTRIES)  # until when an acknowledged entry lasts

    @classmethod
    async def prepare(
        cls,
        session: CqlSession,
        parts: HeldParts,
        expiries: Known[int],
        arrivals: Arrivals,
        now_ms: Callable[[], int],
        *,
        has_receipts: bool = True,
    ) -> Self:
        statements = await session.prepare(
            _PUT_ROW,
            _PUT_ROW_AND_EXTRAS,
            PUT_INDEX,
            _PUT_APP_BUCKET,
            PUT_RUN,
            PUT_RECEIPT,
            _PUT_MOVED,
            _GET_ROW,
            _GET_EXPIRY,
            _PUT_CANCEL,
            _PUT_MOVE,
            _PUT_OUTCOME,
            _REPLACE_CONTENTS,
            _GET_TEXTS,
        )
        return cls(session, statements, parts, expiries, arrivals, now_ms, has_receipts=has_receipts)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        await self._parts.write(partial(self._file, rows))

    async def _file(self, rows: Sequence[Row], count: int) -> None:
        """File rows, with their index entries under this part count."""
        now_ms = self._now_ms()
        near_ms = announced_below(now_ms)
        indexed = self._known_under(count)
        minutes: dict[IndexKey, _Minute] = {}
        by_routing: dict[bytes, _Minute] = {}
        items: list[Item] = []
        for row in rows:
            app_id, partition, slot_ms = row.place
            bucket = bucket_of(slot_ms)
            end_ms = row_end_ms(slot_ms, row.schedule.expires_ms, now_ms)
            key = (bucket, app_id, partition)
            minute = minutes.get(key)
            if minute is None:
                minute = minutes[key] = _Minute(key, indexed.get(key) or 0)
                by_routing[minute.routing] = minute
            left_s, extras = ttl_s(end_ms, now_ms), encode_row_extras(row)
            put = self._put_row if extras is None else self._put_row_and_extras
            query = put.in_batch(row_wire(minute.wire, row, extras, left_s))
            entry_end_ms = _entry_end_ms(bucket, slot_ms, end_ms)
            note = slot_ms if slot_ms < near_ms else None
            companions: Sequence[tuple[bytes, Query]] = ()
            if minute.entry_end_ms < entry_end_ms:
                minute.entry_end_ms, minute.is_indexed = entry_end_ms, True
                companions = self._index_queries(key, count, entry_end_ms, now_ms)
            if (run := row.schedule.run) is not None and is_listed_run(row):
                companions = (*companions, run_entry(self._put_run, row, run, pack_int(left_s)))
            receipt = b""
            if self._has_receipts and is_receipted(row):
                receipt = row.schedule.schedule_id.bytes
                if end_ms < minute.receipt_end_ms:
                    minute.receipt_end_ms = end_ms
            items.append(Item(minute.routing, query, companions, note, receipt))

        def announce(near: Mapping[bytes, set[int]]) -> list[tuple[bytes, Query]]:
            return [
                self._arrivals.announce(*by_routing[routing].instance, slots, now_ms, count)
                for routing, slots in near.items()
            ]

        def sign(routing: bytes, ids: Sequence[bytes]) -> Query:
            minute = by_routing[routing]
            left_s = ttl_s(max(minute.receipt_end_ms - RECEIPT_MARGIN_MS, now_ms + 1_000), now_ms)
            return self._put_receipt.in_batch(receipt_wire(minute.wire, b"".join(ids), left_s))

        batches = make_batches(items, self._session, ROWS_PER_BATCH, announce, sign)
        await self._session.write(batches)
        indexed.update({key: each.entry_end_ms for key, each in minutes.items() if each.is_indexed})
        if self._now_ms() - now_ms > SLOW_WRITE_MS:
            self._arrivals.announce_again(row.place for row in rows)

    def _known_under(self, count: int) -> Known[IndexKey]:
        """Return what is known to be indexed under this part count; a change begins anew."""
        if self._indexed_under != count:
            self._indexed_under, self._indexed = count, Known(INDEX_ENTRIES)
        return self._indexed

    def _index_queries(
        self, key: IndexKey, count: int, end_ms: int, now_ms: int
    ) -> list[tuple[bytes, Query]]:
        bucket, app_id, partition = key
        app, minute = app_id.encode(), pack_int(bucket)
        shard = pack_int(part_of(group_of(f"{app_id}.{partition}"), count))
        day = pack_int(bucket // MINUTES_PER_DAY)
        number = pack_int(partition)
        ending = (pack_int(ttl_s(end_ms, now_ms)), pack_long(end_ms))
        return [
            (routing_key(minute, shard), self._put_index.in_batch((minute, shard, app, number, *ending))),
            (routing_key(app, day), self._put_app_bucket.in_batch((app, day, minute, number, *ending))),
        ]

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        records = await self._session.read(self._get_row.with_raw(_key_values(place, schedule_id)))
        row = to_row(place, schedule_id, records[0]) if records else None
        if row is not None:
            self._expiries.add(schedule_id.int, row.schedule.expires_ms)
        return row

    async def put_cancel(
        self, place: Place, schedule_id: UUID, cancelled_ms: int, expires_ms: int | None = None
    ) -> None:
        """One write, after a read if `expires_ms` is not known."""
        key = _key_values(place, schedule_id)
        if expires_ms is None:
            for record in await self._session.read(self._get_expiry.with_raw(key)):
                if record[1] is None:
                    expires_ms = _expiry(place, record)
        if expires_ms is not None:
            ttl = pack_int(_later_ttl_s(place.slot_ms, expires_ms, self._now_ms()))
            await self._session.write([self._put_cancel.with_raw((ttl, pack_long(cancelled_ms), *key))])

    async def replace_contents(self, before: Row, after: Row) -> bool:
        """An LWT: the only one on rows. Its time is the servers', where other writes have the process's;
        should it be the earlier one, because clocks differ by more than the row is old, the row stays as it
        was.

        The row lasts for what is left of it. No longer: what is written of it later, such as its outcome,
        outlives it by a margin for clocks alone, and without that it would be a row to be sent.
        """
        key = _key_values(before.place, before.schedule.schedule_id)
        was, wanted = _texts_of(before), _texts_of(after)
        found, ttl = await self._fetch_texts(key)
        if found != was:
            return found == wanted
        cells = to_values(after)[2:]

        async def fetch() -> Values:
            return (await self._fetch_texts(key))[0]

        stored = await change(
            self._session,
            self._replace_contents.with_raw((ttl, *cells, encode_row_extras(after), *key, *was)),
            fetch,
            wanted=wanted,
            is_before=lambda found: found == was,
            what=f"the rewriting of schedule {before.schedule.schedule_id}",
        )
        return stored == wanted

    async def _fetch_texts(self, key: Values) -> tuple[Values, bytes]:
        """Return what tells whether a row is the one that was read, nothing if there is none, and for how
        long it lasts."""
        records = await self._session.read(self._get_texts.with_raw(key), is_serial=True)
        if not records or None in records[0][:3]:
            return (), b""
        details, payload, expires_ms, left_s = records[0]
        return (bytes(details), payload.encode(), pack_long(expires_ms)), pack_int(left_s or 0)

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        expiries = await self._fetch_expiries(updates)
        now_ms, written = self._now_ms(), self._session.write_time()
        minutes: dict[tuple[str, int, int], tuple[bytes, bytes]] = {}  # values of their key, and it hashed
        moves: dict[bytes, Item] = {}  # by key: of two updates of a row the later one counts
        outcomes: dict[bytes, Item] = {}
        left: dict[IndexKey, int] = {}
        for update, expires_ms in zip(updates, expiries, strict=True):
            if expires_ms is None:
                continue  # there is no such row
            app_id, partition, slot_ms = update.place
            minute = (app_id, partition, bucket_of(slot_ms))
            found = minutes.get(minute)
            if found is None:
                app = app_id.encode()
                found = pack_minute(app, *minute[1:]), minute_key(app, *minute[1:])
                minutes[minute] = found
            update.written = update.written or written
            left_s, row_key = (
                _later_ttl_s(slot_ms, expires_ms, now_ms),
                pack_key(found[0], slot_ms, update.schedule_id),
            )
            if (outcome := update.outcome) is not None:
                wire = update_wire(left_s, update.written, encode_outcome(outcome), row_key)
                outcomes[row_key] = Item(found[1], self._put_outcome.in_batch(wire))
            if (moved_to := update.moved_to) is not None:
                key = (minute[2], app_id, partition)
                end_ms = _entry_end_ms(minute[2], slot_ms, row_end_ms(slot_ms, expires_ms, now_ms))
                if (left.get(key) or self._moved.get(key) or 0) < end_ms:
                    left[key] = end_ms
                place_value = pack_tuple(moved_to.partition, moved_to.slot_ms)
                wire = update_wire(left_s, update.written, place_value, row_key)
                moves[row_key] = Item(found[1], self._put_move.in_batch(wire))
        if left:  # before the pointers: whoever dies in between must not leave one that nobody knows of
            noted = [self._moved_item(key, end_ms, now_ms) for key, end_ms in left.items()]
            await self._session.write(make_batches(noted, self._session, UPDATES_PER_BATCH))
            self._moved.update(left)
        items = [*outcomes.values(), *moves.values()]
        await self._session.write(make_batches(items, self._session, UPDATES_PER_BATCH))

    def _moved_item(self, key: IndexKey, end_ms: int, now_ms: int) -> Item:
        bucket, app_id, partition = key
        hour = pack_int(bucket // 60)
        values = (hour, app_id.encode(), pack_int(bucket), pack_int(partition))
        ending = (pack_int(ttl_s(end_ms, now_ms)), pack_long(end_ms))
        return Item(hour, self._put_moved.in_batch((*values, *ending)))

    async def _fetch_expiries(self, updates: Sequence[RowUpdate]) -> list[int | None]:
        """Return when each of the updated schedules expires: known here as a rule, else read; None: there is
        no such row."""
        known = [self._expiries.get(update.schedule_id.int) for update in updates]
        unknown = {
            update.schedule_id.int: update
            for update, expires_ms in zip(updates, known, strict=True)
            if expires_ms is None
        }
        if unknown:
            statements = [
                self._get_expiry.with_raw(_key_values(update.place, update.schedule_id))
                for update in unknown.values()
            ]
            answers = await self._session.read_all(statements)
            read = {
                number: expires_ms
                for (number, update), records in zip(unknown.items(), answers, strict=True)
                if records and (expires_ms := _expiry(update.place, records[0])) is not None
            }
            self._expiries.update(read)
            return [
                read.get(update.schedule_id.int) if expires_ms is None else expires_ms
                for update, expires_ms in zip(updates, known, strict=True)
            ]
        return known


def _texts_of(row: Row) -> Values:
    schedule = row.schedule
    return schedule.callback_details, schedule.payload.encode(), pack_long(schedule.expires_ms)


def _later_ttl_s(slot_ms: int, expires_ms: int, now_ms: int) -> int:
    return ttl_s(row_end_ms(slot_ms, expires_ms, now_ms) + LATER_MARGIN_MS, now_ms)


def _key_values(place: Place, schedule_id: UUID) -> Values:
    app_id, partition, slot_ms = place
    return (
        app_id.encode(),
        pack_int(partition),
        pack_int(bucket_of(slot_ms)),
        pack_long(slot_ms),
        schedule_id.bytes,
    )


def _expiry(place: Place, record: Record) -> int | None:
    """Return when the row of a record of `_GET_EXPIRY` expires, at its slot if that cannot be read; None:
    there is no row."""
    expires_ms, _, created_ms, fire_ms = record
    if expires_ms is not None:
        return int(expires_ms)
    return None if created_ms is fire_ms is None else place.slot_ms


def _entry_end_ms(bucket: int, slot_ms: int, end_ms: int) -> int:
    """Return when the index entry of a row ends: as if the row were the last of its minute, so that
    rows of one retention need one entry."""
    return end_ms + last_slot(bucket) - slot_ms


_AFTER = "(slot_ms, schedule_id) > (?, ?) AND (slot_ms) <= (?)"
_RANGE = f"FROM $schedules WHERE app_id = ? AND partition = ? AND bucket = ? AND {_AFTER} LIMIT ?"
_OF_APPS = (
    f"FROM $schedules WHERE app_id IN ? AND partition = ? AND bucket = ? AND {_AFTER} PER PARTITION LIMIT ?"
)
_OF_PARTITIONS = (
    f"FROM $schedules WHERE app_id = ? AND partition IN ? AND bucket = ? AND {_AFTER} PER PARTITION LIMIT ?"
)
_DUE = f"{CREATED_AND_EXTRAS}, {IS_DONE}"
_ALL = f"{CREATED_AND_EXTRAS}, {WRITTEN_LATER}"
_IDS = f"slot_ms, schedule_id, expires_ms, {IS_DONE}"
_GET_INDEX = "SELECT app_id, partition FROM $due_index WHERE bucket = ? AND shard = ?"
ROWS_AT_ONCE = 500  #: that one statement about several poller instances may return
IDS_AT_ONCE = 12_500


class Due:
    """`DueStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], parts: HeldParts, expiries: Known[int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get_index, *ways = statements
        self._get_due = _Way(_APP, *ways[:2])
        self._get_ids = _Way(_APP, *ways[2:4])
        self._get_all = _Way(_PARTITION, *ways[4:])
        self._parts = parts
        self._expiries = expiries

    @classmethod
    async def prepare(cls, session: CqlSession, parts: HeldParts, expiries: Known[int]) -> Self:
        ways = []
        for columns, first, many in (
            (_DUE, "app_id", _OF_APPS),
            (_IDS, "app_id", _OF_APPS),
            (_ALL, "partition", _OF_PARTITIONS),
        ):
            ways += [f"SELECT {columns} {_RANGE}", f"SELECT {first}, {columns} {many}"]
        return cls(session, await session.prepare(_GET_INDEX, *ways), parts, expiries)

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        return await self._parts.read(partial(self._read_index, first, last, groups))

    async def _read_index(
        self, first: int, last: int, groups: Collection[int] | None, counts: Collection[int]
    ) -> list[IndexEntry]:
        """An entry that was copied to another part is where it was, too."""
        shards = parts_of(groups, counts)
        keys = [(bucket, shard) for bucket in range(first, last + 1) for shard in shards]
        entries: dict[tuple[int, str, int], None] = {}
        for n in range(0, len(keys), PARTS_AT_ONCE):
            asked = keys[n : n + PARTS_AT_ONCE]
            answers = await self._session.read_all(
                [self._get_index.with_raw((pack_int(bucket), pack_int(shard))) for bucket, shard in asked]
            )
            for (bucket, _), records in zip(asked, answers, strict=True):
                entries |= dict.fromkeys((bucket, app_id, partition) for app_id, partition in records)
        return [IndexEntry(bucket, Instance(app_id, partition)) for bucket, app_id, partition in entries]

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        answers = await self._ask(self._get_due, queries, ROWS_AT_ONCE)
        return [self._page(query, records) for query, records in zip(queries, answers, strict=True)]

    def _page(self, query: DueQuery, records: list[Record]) -> DuePage:
        rows, damaged = read_live_rows(*query.instance, records)
        self._expiries.update({row.schedule.schedule_id.int: row.schedule.expires_ms for row in rows})
        return DuePage(rows, _next_after(query, records), damaged)

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[IdPage]:
        answers = await self._ask(self._get_ids, queries, IDS_AT_ONCE)
        return [
            IdPage(_live_ids(records), _next_after(query, records))
            for query, records in zip(queries, answers, strict=True)
        ]

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        answers = await self._ask(self._get_all, queries, ROWS_AT_ONCE)
        pages = []
        for query, records in zip(queries, answers, strict=True):
            rows, damaged = read_rows(*query.instance, records)
            pages.append(DuePage(rows, _next_after(query, records), damaged))
        return pages

    async def _ask(self, way: _Way, queries: Sequence[DueQuery], most_rows: int) -> list[list[Record]]:
        """Return the records of each query. Those that differ in one part of the key share statements."""
        varying = way.varying
        bound = [_bind(query) for query in queries]
        reads = [(routing_key(*values[:3]), (values[:varying], values[varying + 1 :])) for values in bound]
        groups = []
        for numbers in alike(reads, self._session):
            size = max(1, min(PARTITIONS_AT_ONCE, most_rows // queries[numbers[0]].limit))
            groups += [numbers[n : n + size] for n in range(0, len(numbers), size)]
        statements = []
        for first, *others in groups:
            values = bound[first]
            if others:
                several = pack_list([values[varying], *(bound[other][varying] for other in others)])
                values = (*values[:varying], several, *values[varying + 1 :])
                statements.append(way.of_many.for_many(values, reads[first][0]))
            else:
                statements.append(way.of_one.with_raw(values))
        answers: list[list[Record]] = [[]] * len(queries)
        for group, records in zip(groups, await self._session.read_all(statements), strict=True):
            if len(group) == 1:
                answers[group[0]] = records
                continue
            found: dict[object, list[Record]] = defaultdict(list)
            for record in records:
                found[record[0]].append(record[1:])
            for number in group:
                answers[number] = found[queries[number].instance[varying]]
        return answers


_APP, _PARTITION = range(2)  #: of a query's instance, and of the values of `_bind`


class _Way(NamedTuple):
    """Statements about a range of one poller instance, and of several."""

    varying: int  #: in which part of the key those of one statement differ
    of_one: Prepared
    of_many: Prepared


def _bind(query: DueQuery) -> tuple[bytes, ...]:
    """Return the values of a statement about this query's range."""
    (app_id, partition), bucket, after, upto_ms, limit = query
    after = max(after, Position(first_slot(bucket) - 1, LAST_ID))
    return (
        app_id.encode(),
        pack_int(partition),
        pack_int(bucket),
        pack_long(after.slot_ms),
        after.schedule_id.bytes,
        pack_long(min(upto_ms, last_slot(bucket))),
        pack_int(limit),
    )


def _next_after(query: DueQuery, records: list[Record]) -> Position | None:
    """Rows that are not live count towards the limit."""
    return None if len(records) < query.limit else Position(records[-1][0], records[-1][1])


def _live_ids(records: list[Record]) -> list[Position]:
    return [
        Position(slot_ms, schedule_id)
        for slot_ms, schedule_id, expires_ms, is_cancelled, is_moved, has_outcome in records
        if is_cancelled is is_moved is has_outcome is None and expires_ms is not None
    ]
