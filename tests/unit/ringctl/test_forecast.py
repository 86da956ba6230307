"""What falls due, against the quota."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.builders import BUCKET, make_app, make_rows
from tests.unit.ringctl.rig import make_rig

from ringtime_ringctl.forecast import advice
from ringtime_shared.buckets import first_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.schedules.buckets_ahead import CHUNK, count_entries, read_entries
from ringtime_shared.schedules.forecast import forecast, quota_for, window
from ringtime_shared.stores.protocol import IndexEntry

HOUR = BUCKET // 60 * 60


def test_minutes_over_the_quota_and_what_it_should_be() -> None:
    found = forecast(
        "pay", 5, {HOUR: 4_000, HOUR + 1: 5_000, HOUR + 2: 5_001, HOUR + 61: 9_000, HOUR + 70: 0}
    )
    assert found.capacity == 5_000
    assert found.total == 23_001
    assert [minute.bucket for minute in found.over] == [HOUR + 2, HOUR + 61]
    assert found.peak == (HOUR + 61, 9_000)
    assert found.advised == 11
    assert [(hour.due, hour.peak, hour.over) for hour in found.hours()] == [
        (14_001, 5_001, 1),
        (9_000, 9_000, 1),
    ]
    assert "ringctl resize pay --partitions 11" in advice(found)


def test_the_first_of_equal_peaks_is_the_peak() -> None:
    assert forecast("pay", 5, {HOUR + 9: 7, HOUR + 3: 7}).peak == (HOUR + 3, 7)


def test_nothing_due() -> None:
    found = forecast("pay", 5, {})
    assert (found.peak, found.advised, found.over, found.hours()) == (None, None, [], [])


@pytest.mark.parametrize(
    ("per_minute", "quota"), [(0, 1), (1, 1), (833, 1), (834, 2), (1_000, 2), (50_000, 60)]
)
def test_the_quota_leaves_a_fifth_to_spare(per_minute: int, quota: int) -> None:
    assert quota_for(per_minute) == quota


def test_no_command_is_advised_where_the_quota_does() -> None:
    assert "ringctl resize" not in advice(forecast("pay", 2, {HOUR: 1_000}))
    assert "it has 9" in advice(forecast("pay", 9, {HOUR: 1_000}))


def test_the_window_begins_with_this_minute() -> None:
    assert window(first_slot(BUCKET) + 59_999, 1) == (BUCKET, BUCKET + 60)
    assert window(first_slot(BUCKET), 0.5) == (BUCKET, BUCKET + 30)


async def test_live_rows_are_counted_over_chunks_and_up_to_a_bound() -> None:
    rig = make_rig()
    app = await rig.store.create_app(make_app())
    far = BUCKET + CHUNK + 5
    for bucket, partition, count in ((BUCKET, 0, 3), (BUCKET, 1, 2), (far, 2, 150)):
        await rig.store.put_rows(make_rows(app, [first_slot(bucket) + n for n in range(count)], partition))
    await rig.store.put_cancel(
        (row := make_rows(app, [first_slot(BUCKET)])[0]).place, row.schedule.schedule_id, 1
    )
    ends: list[Any] = []
    counted: dict[Any, Any] = {}
    async for end, entries in read_entries(rig.store, app.app_id, BUCKET, far):
        ends.append(end)
        counted |= await count_entries(rig.store, entries, most=100)
    assert ends == [BUCKET + CHUNK - 1, far]
    assert counted == {
        IndexEntry(BUCKET, Instance(app.app_id, 0)): 3,
        IndexEntry(BUCKET, Instance(app.app_id, 1)): 2,
        IndexEntry(far, Instance(app.app_id, 2)): 100,
    }
