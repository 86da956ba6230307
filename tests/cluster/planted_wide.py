"""Bugs of the reading of what is due, put in on purpose: rows would be late, or found at a cost that grows
with what is active."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from ringtime_dispatcher.ownership import keeper, recovery
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.ownership.minute import Minute
from ringtime_dispatcher.reading import polling, sealing
from ringtime_dispatcher.reading.feed import Feed
from ringtime_dispatcher.reading.polling import Agenda, Poller
from ringtime_dispatcher.reading.sealing import Sealer
from ringtime_shared.parts import CopyPage, PartMap
from ringtime_shared.stores import arrivals
from ringtime_shared.stores.arrivals import RecentArrivals
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Arrival
from tests.cluster.planted import Plant


def write_no_arrivals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecentArrivals, "announce", lambda *_: None)


def announce_only_this_minute(patch: pytest.MonkeyPatch) -> None:
    """What is filed into the next one after its index was read is not."""
    patch.setattr(arrivals, "ANNOUNCE_AHEAD_MS", 1)


def leave_the_agenda_after_a_read(patch: pytest.MonkeyPatch) -> None:
    """What was read once is on the agenda again only when more is filed."""
    real_take, real_file = Agenda.take_due, Agenda.file
    taken: set[OwnedInstance] = set()

    def take_due(self: Agenda, horizon_ms: int, most: int) -> list[OwnedInstance]:
        due = real_take(self, horizon_ms, most)
        taken.update(due)
        return due

    def file(self: Agenda, owned: OwnedInstance) -> None:
        if owned in taken:
            taken.discard(owned)
        else:
            real_file(self, owned)

    patch.setattr(Agenda, "take_due", take_due)
    patch.setattr(Agenda, "file", file)


def take_a_page_of_positions_for_all(patch: pytest.MonkeyPatch) -> None:
    real = Minute.learn
    patch.setattr(Minute, "learn", lambda self, slots, _: real(self, slots, None))


def forget_what_no_room_was_for(patch: pytest.MonkeyPatch) -> None:
    """Slots beyond what is kept of a bucket are dropped, and taken for known."""

    def add(self: Minute, slots: Iterable[int]) -> None:
        new = {slot_ms - self._start_ms for slot_ms in slots if slot_ms > self.front.slot_ms}
        self._ahead[:] = type(self._ahead)("H", sorted({*self._ahead, *new})[:2])

    patch.setattr(Minute, "_add", add)


def take_an_arrival_for_all_there_is(patch: pytest.MonkeyPatch) -> None:
    real = OwnedInstance.expect

    def expect(self: OwnedInstance, slots: Sequence[int], *, is_first: bool) -> tuple[int, int] | None:
        return real(self, slots, is_first=True)

    patch.setattr(OwnedInstance, "expect", expect)


def pass_over_what_came_behind_the_front(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Poller) -> None:
        self._passed.clear()

    patch.setattr(Poller, "_read_passed", nothing)


def look_back_for_no_arrivals(patch: pytest.MonkeyPatch) -> None:
    """Only what is stamped since the last tick began, though it may be seen later than it is stamped."""
    patch.setattr(Feed, "after_ms", lambda self, now_ms: min(self._asked_ms or now_ms, now_ms))


def skip_the_close_of_minutes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sealer, "_ended", lambda *_: range(0))
    patch.setattr(sealing, "take_closing", lambda *_, **__: [])


def read_no_index_for_those_without_rows(patch: pytest.MonkeyPatch) -> None:
    """They are sealed by what the index said when their minutes ended, before `sealed` was published."""
    real = Sealer._open_named

    async def open_named(self: Sealer, seals: Sequence[Any], ended: range) -> None:
        await real(self, [], ended)

    patch.setattr(Sealer, "_open_named", open_named)


def look_too_seldom_where_nothing_comes(patch: pytest.MonkeyPatch) -> None:
    """So seldom that what is filed then may be due before it is heard of."""
    patch.setattr(polling, "QUIET_SHARE", 2.0)


def handle_an_arrival_each_time_it_is_read(patch: pytest.MonkeyPatch) -> None:
    real = Feed.take

    def take(self: Feed, seen: Sequence[Arrival], now_ms: int) -> list[Arrival]:
        real(self, seen, now_ms)
        return list(seen)

    patch.setattr(Feed, "take", take)


def read_each_instance_tick_by_tick(patch: pytest.MonkeyPatch) -> None:
    """As if nothing were known of what is to come: the cost of what is active, not of what is due."""
    patch.setattr(Agenda, "take_looks", lambda *_, **__: [])
    patch.setattr(Minute, "expect", lambda *_: None)
    real = Minute.learn
    patch.setattr(Minute, "learn", lambda self, slots, _: real(self, slots, self.front))


def walk_only_to_the_present(patch: pytest.MonkeyPatch) -> None:
    """A new owner does not look into the minute whose index this node has read already."""
    real: Any = recovery.walk

    async def walk(store: Any, clock: Any, instances: Any, owned: Any, walk_buckets: int) -> None:
        indexed, instances.indexed = instances.indexed, None
        try:
            await real(store, clock, instances, owned, walk_buckets)
        finally:
            instances.indexed = indexed

    patch.setattr(keeper, "walk", walk)


def read_only_the_parts_that_are_written(patch: pytest.MonkeyPatch) -> None:
    """The part count changes, and what was filed under the one before is looked for no more."""
    patch.setattr(PartMap, "read", property(lambda self: (self.written,)))


def copy_no_entries(patch: pytest.MonkeyPatch) -> None:
    """The part count changes, and what was filed far ahead stays where it was."""

    async def nothing(self: MemoryStore, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        return CopyPage(None, 1.0, 0)

    patch.setattr(MemoryStore, "copy_entries", nothing)


def count_no_changes_of_apps(patch: pytest.MonkeyPatch) -> None:
    """What follows the apps takes them for unchanged, until all are read anyway."""

    async def stands(self: MemoryStore) -> int:
        return 0

    patch.setattr(MemoryStore, "count_app_changes", stands)


PLANTS: list[Plant] = [
    write_no_arrivals,
    announce_only_this_minute,
    leave_the_agenda_after_a_read,
    take_a_page_of_positions_for_all,
    forget_what_no_room_was_for,
    take_an_arrival_for_all_there_is,
    pass_over_what_came_behind_the_front,
    look_back_for_no_arrivals,
    skip_the_close_of_minutes,
    handle_an_arrival_each_time_it_is_read,
    read_each_instance_tick_by_tick,
    walk_only_to_the_present,
    read_only_the_parts_that_are_written,
    copy_no_entries,
    count_no_changes_of_apps,
]

#: The seed to begin at for those that few seeds show: a little before the first that does.
FIRST_SEEDS: dict[Plant, int] = {
    take_a_page_of_positions_for_all: 17,
    take_an_arrival_for_all_there_is: 65,
    pass_over_what_came_behind_the_front: 127,
    handle_an_arrival_each_time_it_is_read: 12,
    skip_the_close_of_minutes: 6,
    copy_no_entries: 8,
}
