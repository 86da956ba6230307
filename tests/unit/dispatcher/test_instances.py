"""`OwnedInstance`: fronts, marks and what is known of rows, at their boundaries."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.builders import BUCKET, START_MS, before, key_of, make_app, make_row
from tests.unit.dispatcher.rig import instances_of, make_owned
from tests.unit.spy_store import spin

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.parts import MOST_NAMED, group_of
from ringtime_shared.stores.protocol import LAST_ID, Position

END_MS = last_slot(BUCKET)
APP = make_app()


@pytest.fixture
def owned() -> OwnedInstance:
    """Settled up to the end of the minute before `BUCKET`."""
    return make_owned(APP, settled_ms=START_MS - 1)


def read_up_to(slot_ms: int) -> Position:
    return Position(slot_ms, LAST_ID)


def test_a_new_bucket_is_read_from_its_first_slot(owned: OwnedInstance) -> None:
    assert not owned.has_rows
    owned.open_bucket(BUCKET)
    assert owned.has_rows
    assert owned.is_reading(BUCKET)
    assert owned.next_read(START_MS) == (BUCKET, before(START_MS))
    assert owned.next_read(START_MS - 1) is None


def test_a_bucket_that_settled_reaches_into_is_read_from_there() -> None:
    owned = make_owned(APP, settled_ms=START_MS + 7_000)
    owned.open_bucket(BUCKET)
    assert owned.next_read(END_MS) == (BUCKET, read_up_to(START_MS + 7_000))


@pytest.mark.parametrize(("settled_ms", "opens"), [(END_MS - 1, True), (END_MS, False), (END_MS + 1, False)])
def test_a_bucket_that_is_settled_is_never_read_again(settled_ms: int, opens: bool) -> None:
    owned = make_owned(APP, settled_ms=settled_ms)
    owned.open_bucket(BUCKET)
    assert owned.has_rows is opens


def test_opening_a_bucket_again_keeps_its_front(owned: OwnedInstance) -> None:
    owned.open_bucket(BUCKET)
    owned.set_front(BUCKET, read_up_to(START_MS + 500))
    owned.open_bucket(BUCKET)
    assert owned.next_read(END_MS) == (BUCKET, read_up_to(START_MS + 500))


def test_a_bucket_read_to_its_end_needs_no_read(owned: OwnedInstance) -> None:
    owned.open_bucket(BUCKET)
    owned.set_front(BUCKET, read_up_to(END_MS - 1))
    assert owned.next_read(END_MS + 10_000) is not None
    owned.set_front(BUCKET, read_up_to(END_MS))
    assert owned.next_read(END_MS + 10_000) is None


def test_a_page_that_ended_inside_a_slot_is_gone_on_with(owned: OwnedInstance) -> None:
    """Several rows may share a slot, also the last one of a minute."""
    middle = key_of(make_row(APP, END_MS))
    owned.open_bucket(BUCKET)
    owned.set_front(BUCKET, middle)
    assert owned.next_read(END_MS) == (BUCKET, middle)
    assert owned.next_read(END_MS - 1) is None


def test_the_oldest_bucket_is_read_first(owned: OwnedInstance) -> None:
    for bucket in (BUCKET + 2, BUCKET, BUCKET + 1):
        owned.open_bucket(bucket)
    order = []
    while (found := owned.next_read(last_slot(BUCKET + 2))) is not None:
        order.append(found[0])
        owned.set_front(found[0], read_up_to(last_slot(found[0])))
    assert order == [BUCKET, BUCKET + 1, BUCKET + 2]


def test_a_front_of_a_bucket_forgotten_meanwhile_is_dropped(owned: OwnedInstance) -> None:
    owned.set_front(BUCKET, read_up_to(START_MS))
    assert not owned.has_rows


@pytest.mark.parametrize(
    ("limit_ms", "sealable_ms"),
    [(START_MS, START_MS - 1), (END_MS, START_MS - 1), (END_MS + 1, END_MS), (END_MS + 59_999, END_MS)],
)
def test_an_idle_instance_is_sealed_by_whole_minutes(
    owned: OwnedInstance, limit_ms: int, sealable_ms: int
) -> None:
    assert owned.sealable_ms(limit_ms) == sealable_ms


def test_nothing_unread_is_sealed(owned: OwnedInstance) -> None:
    owned.open_bucket(BUCKET)
    assert owned.sealable_ms(END_MS) == START_MS - 1
    owned.set_front(BUCKET, read_up_to(START_MS + 5_000))
    assert owned.sealable_ms(END_MS) == START_MS + 5_000
    assert owned.sealable_ms(START_MS + 4_000) == START_MS + 4_000
    owned.set_front(BUCKET, key_of(make_row(APP, START_MS + 6_000)))
    assert owned.sealable_ms(END_MS) == START_MS + 5_999, "the rest of that slot is unread"
    owned.set_front(BUCKET, read_up_to(END_MS))
    assert owned.sealable_ms(END_MS + 30_000) == END_MS + 30_000


def test_an_unread_older_bucket_holds_the_seal_back(owned: OwnedInstance) -> None:
    owned.open_bucket(BUCKET)
    owned.open_bucket(BUCKET + 1)
    owned.set_front(BUCKET + 1, read_up_to(last_slot(BUCKET + 1)))
    assert owned.sealable_ms(last_slot(BUCKET + 1)) == START_MS - 1


def test_a_row_is_taken_once(owned: OwnedInstance) -> None:
    key = key_of(make_row(APP))
    assert list(owned.unseen([key])) == [key]
    assert owned.take(key)
    assert not owned.take(key)
    assert list(owned.unseen([key])) == []
    owned.close(key)
    assert not owned.is_open(key)
    assert not owned.take(key), "closed is not forgotten: a read under way may still return it"
    assert list(owned.unseen([key])) == []


def test_two_filings_of_a_schedule_are_two_rows(owned: OwnedInstance) -> None:
    key = key_of(make_row(APP))
    assert owned.take(key)
    assert owned.take(key._replace(slot_ms=key.slot_ms + 1_000))


def test_what_was_finally_read_is_forgotten_unless_it_is_open(owned: OwnedInstance) -> None:
    done, still_open, later = (key_of(make_row(APP, START_MS + n)) for n in (0, 1, 2))
    owned.open_bucket(BUCKET)
    for key in (done, still_open, later):
        owned.take(key)
    owned.close(done)
    owned.set_checked(START_MS + 1)
    assert owned._rows is not None
    assert len(owned._rows.seen) == 1
    assert list(owned.unseen([done, still_open, later])) == [done], "nobody asks below `checked` again"
    assert owned.has_rows
    owned.set_checked(END_MS)
    assert not owned.has_rows
    assert owned._rows.seen == set()


def test_an_instance_costs_more_than_its_name_only_while_it_has_rows(owned: OwnedInstance) -> None:
    assert owned._rows is None
    key = key_of(make_row(APP, START_MS))
    owned.open_bucket(BUCKET)
    assert owned.take(key)
    owned.begin_work()
    owned.set_checked(END_MS)
    owned.close(key)
    owned.end_work()
    assert not owned.is_settled, "its `settled` is to be published"
    owned.set_checked(END_MS)
    owned.settled_ms = END_MS
    assert owned.is_settled
    assert owned._rows is None


@pytest.mark.parametrize("kept", ["bucket", "open row", "work"])
def test_whatever_is_under_way_is_kept(owned: OwnedInstance, kept: str) -> None:
    key = key_of(make_row(APP, START_MS))
    if kept == "bucket":
        owned.open_bucket(BUCKET)
        owned.set_checked(START_MS)
    elif kept == "open row":
        owned.take(key)
        owned.set_checked(END_MS)
        assert owned.is_open(key)
    else:
        owned.begin_work()
        owned.set_checked(END_MS)
        assert not owned.is_quiet
    assert owned._rows is not None


def test_checked_never_goes_back(owned: OwnedInstance) -> None:
    owned.set_checked(END_MS)
    owned.set_checked(START_MS)
    assert owned.checked_ms == END_MS


def test_settled_stops_just_under_the_oldest_open_row(owned: OwnedInstance) -> None:
    keys = [key_of(make_row(APP, START_MS + n)) for n in (100, 200)]
    owned.open_bucket(BUCKET)
    for key in keys:
        owned.take(key)
    assert owned.settleable_ms() == START_MS - 1
    owned.set_checked(START_MS + 5_000)
    assert owned.settleable_ms() == START_MS + 99
    owned.close(keys[0])
    assert owned.settleable_ms() == START_MS + 199
    owned.close(keys[1])
    assert owned.settleable_ms() == START_MS + 5_000
    assert not owned.is_settled
    owned.settled_ms = START_MS + 5_000
    assert owned.is_settled


async def test_quiet_means_that_every_work_ended(owned: OwnedInstance) -> None:
    await owned.wait_quiet()
    owned.begin_work()
    owned.begin_work()
    waiting = asyncio.create_task(owned.wait_quiet())
    owned.end_work()
    await spin()
    assert not waiting.done()
    owned.end_work()
    await waiting


def test_a_bucket_begins_and_ends_where_it_should() -> None:
    assert (first_slot(BUCKET), last_slot(BUCKET) + 1) == (START_MS, first_slot(BUCKET + 1))


def test_active_are_those_with_rows_to_read_that_do_not_leave() -> None:
    idle, busy, leaving = (make_owned(APP, partition, settled_ms=START_MS - 1) for partition in range(3))
    instances = Instances()
    for each in (idle, busy, leaving):
        instances.add(each)
    assert instances.active() == []
    for each in (leaving, busy):
        instances.open_bucket(each, BUCKET)
    instances.open_bucket(idle, BUCKET - 1)  # which is settled
    assert instances.active() == [leaving, busy], "in the order in which their rows were seen"
    leaving.stop()
    assert instances.active() == [busy]
    busy.set_checked(END_MS)
    assert instances.active() == []
    instances.open_bucket(busy, BUCKET + 1)
    assert instances.active() == [busy]


def test_an_instance_that_is_removed_is_active_no_more_and_begins_nothing_new() -> None:
    owned = make_owned(APP, settled_ms=START_MS - 1)
    instances = instances_of(owned)
    instances.open_bucket(owned, BUCKET)
    instances.remove(owned.instance)
    assert owned.is_draining
    assert not instances.owned
    assert instances.active() == []
    instances.open_bucket(owned, BUCKET + 1)
    assert instances.active() == []


def test_groups_are_those_of_some_instance_that_is_owned() -> None:
    owned = [make_owned(APP, partition) for partition in range(3)]
    again = make_owned(APP, 0)
    names = frozenset(group_of(str(each.instance)) for each in owned)
    instances = instances_of(*owned)
    assert instances.groups == names
    assert instances.groups is instances.groups
    instances.add(again)  # a later term
    instances.remove(owned[2].instance)
    instances.remove(owned[0].instance)
    assert instances.groups == frozenset([group_of(str(owned[1].instance))])


def test_more_groups_than_are_told_apart_are_all_groups() -> None:
    instances = Instances()
    owned = [make_owned(APP, partition) for partition in range(MOST_NAMED * 11 // 10)]
    for each in owned:
        instances.add(each)
    assert instances.groups is None
    for each in owned[: MOST_NAMED // 3]:
        instances.remove(each.instance)
    assert instances.groups == frozenset(group_of(str(each.instance)) for each in owned[MOST_NAMED // 3 :])
