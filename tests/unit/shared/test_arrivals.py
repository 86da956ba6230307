"""What is announced, and how it is kept."""

from __future__ import annotations

import random

import pytest

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.stores.arrivals import (
    ANNOUNCE_AHEAD_MS,
    ARRIVALS_KEPT,
    INDEX_LEAD_MS,
    KEPT_MS,
    SLOTS_AT_ONCE,
    RecentArrivals,
    announced_below,
    find_arrivals,
    pack_slots,
    unpack_slots,
)
from ringtime_shared.stores.protocol import Arrival

BUCKET = 30_000_000
START_MS = first_slot(BUCKET)
NOW_MS = START_MS - ANNOUNCE_AHEAD_MS + 1
ME = Instance("app", 3)


def place(slot_ms: int, instance: Instance = ME) -> Place:
    return Place(*instance, slot_ms)


def test_what_may_be_filed_into_a_minute_already_read_is_announced() -> None:
    assert announced_below(NOW_MS) == START_MS + BUCKET_MS
    assert announced_below(NOW_MS - 1) == START_MS
    for to_begin_ms in range(-2 * BUCKET_MS, INDEX_LEAD_MS + 1, 500):
        assert announced_below(START_MS - to_begin_ms) > last_slot(BUCKET), "its index may have been read"


@pytest.mark.parametrize("now_ms", [NOW_MS - 1, NOW_MS, START_MS, START_MS + 59_999, START_MS + 30_001])
def test_exactly_what_is_near_is_found(now_ms: int) -> None:
    slots_ms = [START_MS + n * 7_919 for n in range(-10, 40)]
    found = find_arrivals(map(place, slots_ms), now_ms)
    expected = [
        slot_ms for slot_ms in slots_ms if first_slot(bucket_of(slot_ms)) < now_ms + ANNOUNCE_AHEAD_MS
    ]
    assert sorted(slot_ms for arrival in found for slot_ms in arrival.slots) == expected


def test_each_instance_and_minute_is_one_arrival_with_each_slot_once() -> None:
    other = Instance("app", 4)
    slots_ms = [START_MS + 5, START_MS, START_MS + 5, START_MS - 1]
    places = [*map(place, slots_ms), place(START_MS, other), place(START_MS + BUCKET_MS)]
    assert find_arrivals(places, NOW_MS) == [
        Arrival(NOW_MS, ME, (START_MS, START_MS + 5)),
        Arrival(NOW_MS, ME, (START_MS - 1,)),
        Arrival(NOW_MS, other, (START_MS,)),
    ]
    assert find_arrivals([], NOW_MS) == find_arrivals([place(START_MS + BUCKET_MS)], NOW_MS) == []


def test_an_arrival_is_no_larger_than_its_bound() -> None:
    found = find_arrivals([place(START_MS + n) for n in range(2 * SLOTS_AT_ONCE + 1)], NOW_MS)
    assert [len(arrival.slots) for arrival in found] == [SLOTS_AT_ONCE, SLOTS_AT_ONCE, 1]


def test_packed_slots_come_back() -> None:
    chance = random.Random(5)
    for count in (1, 2, 500):
        slots = tuple(sorted(START_MS + offset for offset in chance.sample(range(BUCKET_MS), count)))
        assert unpack_slots(pack_slots(slots)) == slots
        assert len(pack_slots(slots)) == 4 + 2 * count
    assert unpack_slots(pack_slots((START_MS, last_slot(BUCKET)))) == (START_MS, last_slot(BUCKET))


@pytest.mark.parametrize("packed", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\1\0", b"\0\0\0\1\xff\xff"])
def test_what_is_no_packed_slots_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="slots"):
        unpack_slots(packed)


def test_recent_arrivals_are_forgotten_in_time() -> None:
    recent = RecentArrivals()
    recent.announce([place(START_MS)], NOW_MS)
    recent.announce([place(START_MS + 1)], NOW_MS + KEPT_MS)
    assert len(recent.since(0)) == 2
    recent.announce([place(START_MS + 2)], NOW_MS + KEPT_MS + 1)
    assert [arrival.slots for arrival in recent.since(0)] == [(START_MS + 2,), (START_MS + 1,)]
    assert recent.since(NOW_MS + KEPT_MS + 1) == []


@pytest.mark.slow
def test_recent_arrivals_are_bounded() -> None:
    recent = RecentArrivals()
    for start in range(0, ARRIVALS_KEPT + 2_000, 2_000):
        recent.announce([place(START_MS, Instance("app", start + n)) for n in range(2_000)], NOW_MS)
    found = recent.since(0)
    assert len(found) == ARRIVALS_KEPT
    assert found[0].instance.partition == ARRIVALS_KEPT + 1_999, "the newest is kept"
