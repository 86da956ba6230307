"""Operations of `DeadLetterStore`: one partition an app and day, in the order of slots.

A letter and the note that it was filed again are columns of their own, so a letter that is written once
more does not undo the note. The note is written only beside a letter and with its TTL; if it ends a moment
after the letter, what is left is no letter, and reads pass it over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self
from uuid import UUID

from ringtime_shared.models.app import App
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long, routing_key, row_end_ms, ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Item, Prepared, make_batches
from ringtime_shared.stores.codec.documents import encode_letter, read_letter
from ringtime_shared.stores.protocol import LAST_ID, Position

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
LETTERS_PER_BATCH = 64
LETTERS_PER_DELETE = 500
DAYS_AT_ONCE = 8  #: partitions read side by side, so that a page of few letters takes few rounds
#: Hours counted side by side. One statement counts some 400,000 letters a second and core, and must be done
#: before it times out: hence by the hour, and not many at once.
HOURS_AT_ONCE = 4

_BY_KEY = "WHERE app_id = ? AND day = ? AND slot_ms = ? AND schedule_id = ?"
_PUT = (
    "INSERT INTO $dead_letters (app_id, day, slot_ms, schedule_id, letter) VALUES (?, ?, ?, ?, ?) USING TTL ?"
)
_GET_TTL = f"SELECT writetime(letter), ttl(letter) FROM $dead_letters {_BY_KEY}"
_PUT_REPLAYED = f"UPDATE $dead_letters USING TTL ? SET replayed_ms = ? {_BY_KEY}"
_GET = (
    "SELECT slot_ms, schedule_id, letter, replayed_ms FROM $dead_letters WHERE app_id = ? AND day = ?"
    " AND (slot_ms, schedule_id) > (?, ?) AND (slot_ms) <= (?) LIMIT ?"
)
_COUNT = (
    "SELECT count(letter), count(replayed_ms) FROM $dead_letters"
    " WHERE app_id = ? AND day = ? AND slot_ms >= ? AND slot_ms <= ?"
)
_DELETE = f"DELETE FROM $dead_letters {_BY_KEY}"

Key = tuple[bytes, bytes, bytes, bytes]


class DeadLetters:
    """`DeadLetterStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get_ttl, self._put_replayed, self._get, self._count, self._delete = statements
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        statements = await session.prepare(_PUT, _GET_TTL, _PUT_REPLAYED, _GET, _COUNT, _DELETE)
        return cls(session, statements, now_ms)

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        now_ms = self._now_ms()
        items = []
        for letter in letters:
            key = _key(letter.app_id, letter.slot_ms, letter.schedule_id)
            end_ms = row_end_ms(letter.slot_ms, letter.expires_ms, now_ms)
            values = (*key, encode_letter(letter).encode(), pack_int(ttl_s(end_ms, now_ms)))
            items.append(Item(routing_key(*key[:2]), self._put.in_batch(values)))
        await self._session.write(make_batches(items, self._session, LETTERS_PER_BATCH))

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        day, last = after.slot_ms // DAY_MS, upto_ms // DAY_MS
        while day <= last and len(found) < limit:
            asked = limit - len(found)
            days = range(day, min(day + DAYS_AT_ONCE, last + 1))
            pages = await self._session.read_all(
                [self._range(app_id, each, after, upto_ms, asked) for each in days]
            )
            for records in pages:
                found += [
                    read_letter(app_id, slot_ms, schedule_id, letter, replayed_ms)
                    for slot_ms, schedule_id, letter, replayed_ms in records
                    if letter is not None
                ]
                if len(records) == asked:  # there may be more of this day: go on in it
                    after = Position(records[-1][0], records[-1][1])
                    break
                day += 1
        return found[:limit]

    async def delete_all(self, app: App) -> None:
        """Delete the letters of this app, one by one: a tombstone over a whole day could hide what the next
        app of its id writes under a clock that is behind."""
        after, upto_ms = Position(app.created_ms - DAY_MS, LAST_ID), self._now_ms() + DAY_MS
        while True:
            letters = await self.fetch_dead_letters(app.app_id, after, upto_ms, LETTERS_PER_DELETE)
            items = []
            for letter in letters:
                key = _key(app.app_id, letter.slot_ms, letter.schedule_id)
                items.append(Item(routing_key(*key[:2]), self._delete.in_batch(key)))
            await self._session.write(make_batches(items, self._session, LETTERS_PER_BATCH))
            if len(letters) < LETTERS_PER_DELETE:
                return
            after = Position(letters[-1].slot_ms, letters[-1].schedule_id)

    def _range(self, app_id: str, day: int, after: Position, upto_ms: int, limit: int) -> Any:
        bounds = (pack_long(after.slot_ms), after.schedule_id.bytes, pack_long(upto_ms), pack_int(limit))
        return self._get.with_raw((app_id.encode(), pack_int(day), *bounds))

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        of_letters = [_key(app_id, *key) for key in keys]
        found = await self._session.read_all([self._get_ttl.with_raw(key) for key in of_letters])
        items = [
            Item(
                routing_key(*key[:2]),
                self._put_replayed.in_batch((_left(ttl), pack_long(replayed_ms), *key)),
            )
            for key, records in zip(of_letters, found, strict=True)
            for written, ttl in records
            if written is not None
        ]
        await self._session.write(make_batches(items, self._session, LETTERS_PER_BATCH))

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        hours = range(from_ms // HOUR_MS, upto_ms // HOUR_MS + 1)
        count = 0
        for n in range(0, len(hours), HOURS_AT_ONCE):
            answers = await self._session.read_all(
                [self._hour(app_id, hour, from_ms, upto_ms) for hour in hours[n : n + HOURS_AT_ONCE]]
            )
            count += sum(letters - replayed for ((letters, replayed),) in answers)
        return max(count, 0)

    def _hour(self, app_id: str, hour: int, from_ms: int, upto_ms: int) -> Any:
        first, last = max(hour * HOUR_MS, from_ms), min((hour + 1) * HOUR_MS - 1, upto_ms)
        day = pack_int(hour * HOUR_MS // DAY_MS)
        return self._count.with_raw((app_id.encode(), day, pack_long(first), pack_long(last)))


def _left(ttl: int | None) -> bytes:
    """Return the TTL to write with: in a statement it is 0 that means none."""
    return pack_int(0 if ttl is None else max(ttl, 1))


def _key(app_id: str, slot_ms: int, schedule_id: UUID) -> Key:
    return app_id.encode(), pack_int(slot_ms // DAY_MS), pack_long(slot_ms), schedule_id.bytes
