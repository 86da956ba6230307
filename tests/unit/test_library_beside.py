"""What programs that had goscheduler as a Go module look for: settings of a file, HTTP, epoch seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringtime import Delivery, Ringtime, Status, TestClock
from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails, NewSchedule, ScheduleView
from ringtime_shared.errors import InvalidRequest, StartupError

HTTP = HttpCallbackDetails(url="http://127.0.0.1:1/")
CALLBACK = {"type": "note", "details": {}}
AT = datetime(2030, 1, 31, 8, tzinfo=UTC)


def ringtime_of(path: Path) -> Ringtime:
    ringtime = Ringtime.from_config(path)

    @ringtime.callback("note")
    async def note(delivery: Delivery) -> None: ...

    return ringtime


async def test_a_file_of_settings_and_http_beside_the_library(tmp_path: Path) -> None:
    path = tmp_path / "ringtime.toml"
    path.write_text(
        f'[embedded]\ndata = "{tmp_path}/data"\n[server]\nport = 0\n[limits]\nfuture_period_days = 3660\n'
    )
    async with ringtime_of(path) as ringtime:
        base = (await ringtime.serve_http()).removesuffix("/goscheduler")
        async with AsyncRingtimeClient(base) as client:
            await client.register_app("shop", partitions=2)
            made = await client.create_schedule("shop", payload="", at=AT, callback=CALLBACK)
            row = await ringtime.get_schedule(made.schedule_id)
            assert row.schedule.fire_ms == AT.timestamp() * 1_000
            assert [app.app_id for app in await ringtime.list_apps()] == ["shop"]
            assert not (await ringtime.deactivate_app("shop")).active
            assert (await client.get_app("shop")).active is False
            assert (await ringtime.activate_app("shop")).active
        with pytest.raises(StartupError, match="cannot listen on"):
            await ringtime.serve_http(port=int(base.rpartition(":")[2]))
        with pytest.raises(InvalidRequest, match=r"server\.port"):
            await ringtime.serve_http(port=70_000)
    async with ringtime_of(path) as ringtime:  # all is still there, and the port is free again
        assert (await ringtime.get_schedule(str(made.schedule_id))).status is Status.SCHEDULED
        assert (await ringtime.serve_http(port=int(base.rpartition(":")[2]))).startswith(base)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "conf.json"
    path.write_text('{"HttpPort": "8080", "dispatch": {"tick_ms": 1}}')
    with pytest.raises(InvalidRequest) as caught:
        Ringtime.from_config(str(path))
    assert [each.field for each in caught.value.violations] == ["HttpPort", "dispatch.tick_ms"]


async def test_an_instant_is_a_datetime_or_epoch_seconds() -> None:
    second = AT.timestamp()
    async with Ringtime(clock=TestClock(AT - timedelta(days=1))) as ringtime:
        base = (await ringtime.serve_http(port=0)).removesuffix("/goscheduler")
        await ringtime.register_app("shop", partitions=2)
        async with AsyncRingtimeClient(base) as client:
            for at in (AT, second, int(second), second - 0.0004):
                row = await ringtime.create_schedule("shop", payload="", at=at, callback=HTTP)
                seen = await client.create_schedule("shop", payload="", at=at, callback=HTTP)
                [many] = await client.create_schedules(
                    [NewSchedule(app_id="shop", payload="", at=at, callback=HTTP)]
                )
                assert (row.schedule.fire_ms, seen.fire_time) == (second * 1_000, AT), at
                assert isinstance(many, ScheduleView)
                assert many.fire_time == AT
            assert len((await client.list_schedules("shop", start=second, end=second + 60)).schedules) == 12
            assert len((await ringtime.list_schedules("shop", start=second, end=second + 60)).rows) == 12
            wrong: list[tuple[Any, str]] = [
                (AT.replace(tzinfo=None), "timezone-aware"),
                (-1, "before 1970"),
                (second * 1_000, "looks like milliseconds"),
                (math.nan, "finite"),
                (math.inf, "too large"),
                ("2030-01-31T08:00:00Z", "must be a datetime"),
                (True, "must be a datetime"),
            ]
            for at, rule in wrong:
                for verbs in (ringtime, client):
                    with pytest.raises(InvalidRequest, match=f"^at: .*{rule}"):
                        await verbs.create_schedule("shop", payload="", at=at, callback=HTTP)
