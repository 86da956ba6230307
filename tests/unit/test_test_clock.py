"""A test clock: months go by in seconds, and each callback is made at its own time, in its order."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click import Command
from click.testing import CliRunner

from ringtime import AppConfiguration, Delivery, RecurringTimes, Ringtime, TestClock
from ringtime.main import main as ringtime_command
from ringtime_dispatcher.main import main as dispatcher_command
from ringtime_ingest.main import main as ingest_command
from ringtime_shared.errors import InvalidRequest, StartupError

KEPT = AppConfiguration(future_period_days=366, retention_days=366)
START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.slow
async def test_three_months_of_a_cron_and_a_hundred_schedules() -> None:
    clock = TestClock(START)
    ringtime = Ringtime(clock=clock)
    sent: list[tuple[int, str]] = []

    @ringtime.callback("note")
    async def note(delivery: Delivery) -> None:
        sent.append((clock.now_ms(), delivery.schedule.payload))

    async with ringtime:
        await ringtime.register_app("test", partitions=4, configuration=KEPT)
        rng = Random(7)
        delays = [timedelta(seconds=rng.randrange(1, 90 * 86_400)) for _ in range(80)]
        delays += [timedelta(days=40, milliseconds=500 * n) for n in range(20)]  # close together
        for n in range(100):
            await ringtime.create_schedule("test", payload=str(n), delay=delays[n], callback={"type": "note"})
        await ringtime.put_recurring(
            "test",
            "daily",
            times=RecurringTimes(cron="30 9 * * *", zone="Europe/Berlin"),
            payload="cron",
            callback={"type": "note"},
        )
        now = await ringtime.advance(timedelta(days=90))
    assert now == START + timedelta(days=90)
    due = sorted((round((START + delay).timestamp() * 1_000), str(n)) for n, delay in enumerate(delays))
    assert [each for each in sent if each[1] != "cron"] == due
    runs = [
        datetime.fromtimestamp(at_ms / 1_000, ZoneInfo("Europe/Berlin"))
        for at_ms, payload in sent
        if payload == "cron"
    ]
    assert [(run.month, run.day) for run in runs] == [
        (day.month, day.day) for day in (START + timedelta(days=n) for n in range(90))
    ]
    assert {run.strftime("%H:%M:%S.%f") for run in runs} == {"09:30:00.000000"}
    assert [at_ms for at_ms, _ in sent] == sorted(at_ms for at_ms, _ in sent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a_customer_is_reminded_after_a_week", "a_report_is_made_on_each_weekday_of_a_quarter"]
)
async def test_the_example_of_the_page(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code.replace("@pytest.fixture\n", ""), "docs/testing.md", "exec"), names)
    made = names["ringtime"]()
    await names[f"test_{name}"](await anext(made))
    await made.aclose()


async def test_what_cannot_be_advanced() -> None:
    async with Ringtime() as ringtime:
        with pytest.raises(RuntimeError, match="test clock"):
            await ringtime.advance(timedelta(days=1))
    for start in (START.replace(tzinfo=None), datetime(1999, 1, 1, tzinfo=UTC)):
        with pytest.raises(InvalidRequest, match="start"):
            TestClock(start)
    ringtime = Ringtime(clock=TestClock(START))
    stuck = asyncio.Event()

    @ringtime.callback("stuck")
    async def wait(delivery: Delivery) -> None:
        await stuck.wait()

    async with ringtime:
        for by in (timedelta(days=-1), timedelta(days=367)):
            with pytest.raises(InvalidRequest, match="seconds"):
                await ringtime.advance(by)
        await ringtime.register_app("test", partitions=1)
        await ringtime.create_schedule(
            "test", payload="", delay=timedelta(hours=1), callback={"type": "stuck"}
        )
        with pytest.raises(TimeoutError, match="2030-01-01 01:00:00"):
            await ringtime.advance(timedelta(hours=2), limit=timedelta(seconds=0.1))
        stuck.set()
        assert await ringtime.advance(timedelta(hours=1)) == START + timedelta(hours=2)


async def test_a_deactivated_app_keeps_nobody_waiting() -> None:
    ringtime = Ringtime(clock=TestClock(START))
    sent: list[str] = []

    @ringtime.callback("note")
    async def note(delivery: Delivery) -> None:
        sent.append(delivery.schedule.payload)

    async with ringtime:
        for app_id in ("on", "off"):
            await ringtime.register_app(app_id, partitions=1)
            await ringtime.create_schedule(
                app_id, payload=app_id, delay=timedelta(hours=1), callback={"type": "note"}
            )
        await ringtime.deactivate_app("off")
        await ringtime.advance(timedelta(hours=2))
        assert sent == ["on"]
        await ringtime.activate_app("off")
        await ringtime.advance(timedelta())
        assert sent == ["on", "off"]


async def test_what_is_changed_is_sent_at_its_new_time_though_time_stands_still() -> None:
    """Before it is sent a dispatcher looks twice, some real time apart."""
    clock = TestClock(START)
    ringtime = Ringtime(clock=clock)
    sent: list[tuple[int, str]] = []

    @ringtime.callback("note")
    async def note(delivery: Delivery) -> None:
        sent.append((clock.now_ms(), delivery.schedule.payload))

    async with ringtime:
        await ringtime.register_app("test", partitions=1)
        rows = [
            await ringtime.create_schedule(
                "test", payload=payload, delay=timedelta(hours=1), callback={"type": "note"}
            )
            for payload in ("now", "soon", "as it was")
        ]
        now_ms = clock.now_ms()
        await ringtime.trigger_schedule(rows[0].schedule.schedule_id)
        await ringtime.patch_schedule(rows[1].schedule.schedule_id, delay=timedelta(seconds=30))
        await ringtime.patch_schedule(rows[2].schedule.schedule_id, payload="later")
        await ringtime.advance(timedelta(hours=2), limit=timedelta(seconds=30))
    assert [payload for _, payload in sent] == ["now", "soon", "later"]
    assert [round((at_ms - now_ms) / 1_000) for at_ms, _ in sent] == [1, 30, 3_600]


@pytest.mark.parametrize(
    ("command", "words", "why"),
    [
        (ringtime_command, ["serve", "--clock-start", "2030-01-01T00:00:00Z"], "goes with --clock manual"),
        (ringtime_command, ["serve", "--clock", "manual", "--clock-start", "2030-01-01"], "with its offset"),
        (ingest_command, ["--clock", "manual"], "No such option"),
        (dispatcher_command, ["--clock", "manual"], "No such option"),
    ],
)
def test_where_it_has_no_place(command: Command, words: list[str], why: str) -> None:
    told = CliRunner().invoke(command, words)
    assert told.exit_code == 2
    assert why in told.output


async def test_it_goes_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="without a data folder"):
        async with Ringtime(tmp_path, clock=TestClock()):
            pass
