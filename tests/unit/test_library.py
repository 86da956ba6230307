"""Ringtime as a library, on a folder, with the real clock: its times are as short as the rules allow."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from ringtime import CallbackType, Delivery, Priority, Reply, Ringtime, Row, Settings, Status, Violation
from ringtime.instants import to_ms
from ringtime_shared.errors import InvalidRequest, KeyReused, NotFound, SettingsError, StartupError
from ringtime_shared.settings import AppLimits, DispatchSettings, IngestSettings, RetrySettings
from ringtime_shared.stores.sqlite import SqliteStore

DOCS = Path(__file__).parents[2] / "docs" / "library.md"
QUICK = Settings(
    ingest=IngestSettings(commit_margin_ms=50),
    dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=40, apps_refresh_ms=50),
    retry=RetrySettings(first_delay_ms=1),
    limits=AppLimits(http_attempts=2),
)
SOON = timedelta(milliseconds=60)
HOUR = timedelta(hours=1)


class Bell(CallbackType):
    """A callback type that writes down what it is given and answers as it is told."""

    name = "bell"

    def __init__(self, *answers: Reply | Exception) -> None:
        self.rung: asyncio.Queue[Delivery] = asyncio.Queue()
        self.is_closed = False
        self._answers = list(answers)

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        if "tone" in details:
            return []
        return [Violation("callback.details.tone", "required")]

    async def invoke(self, delivery: Delivery) -> Reply:
        self.rung.put_nowait(delivery)
        answer = self._answers.pop(0) if self._answers else Reply(ok=True, code=7)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_closed = True


def quick(folder: Path, kind: CallbackType | None = None) -> Ringtime:
    ringtime = Ringtime(folder / "data", settings=QUICK)
    if kind is not None:
        ringtime.register_callback(kind)
    return ringtime


async def create(ringtime: Ringtime, *, kind: str = "bell", **when: Any) -> Row:
    return await ringtime.create_schedule(
        "shop", payload='{"n": 1}', callback={"type": kind, "details": {"tone": "a"}}, **when
    )


async def outcome_of(ringtime: Ringtime, row: Row) -> Row:
    """Return the row once it has its outcome, which is recorded just after the callback returned."""
    async with asyncio.timeout(60):
        while True:
            found = await ringtime.get_schedule(row.schedule.schedule_id)
            if found.outcome is not None:
                return found
            await asyncio.sleep(0.005)


async def test_a_function_becomes_a_callback_type(tmp_path: Path) -> None:
    ringtime = quick(tmp_path)
    given: asyncio.Queue[tuple[Delivery, datetime]] = asyncio.Queue()

    @ringtime.callback("bell")
    async def ring(delivery: Delivery) -> None:
        given.put_nowait((delivery, datetime.now(UTC)))

    async with ringtime:
        app = await ringtime.register_app("shop", partitions=2)
        assert (app.writable, app.active) == (2, True)
        at = datetime.now(UTC) + SOON
        row = await create(ringtime, at=at)
        assert row.status is Status.SCHEDULED
        delivery, came = await given.get()
        assert came >= at
        assert delivery.schedule == row.schedule
        assert (delivery.attempt, delivery.schedule.payload) == (1, '{"n": 1}')
        assert json.loads(delivery.schedule.callback_details) == {"tone": "a"}
        done = await outcome_of(ringtime, row)
        assert done.status is Status.SUCCESS
    assert ring is not None, "the decorator gives the function back"


async def test_a_class_checks_details_and_is_closed_at_the_end(tmp_path: Path) -> None:
    bell = Bell()
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=2)
        with pytest.raises(InvalidRequest, match=r"callback\.details\.tone: required"):
            await ringtime.create_schedule(
                "shop", payload="", delay=SOON, callback={"type": "bell", "details": {}}
            )
        done = await outcome_of(ringtime, await create(ringtime, delay=SOON))
        assert done.outcome is not None
        assert (done.outcome.code, done.outcome.attempts) == (7, 1)
    assert bell.rung.qsize() == 1
    assert bell.is_closed


@pytest.mark.parametrize(
    ("answers", "status", "error"),
    [
        ([ValueError("cracked"), Reply(ok=True)], Status.SUCCESS, ""),
        ([ValueError("cracked"), Reply(ok=False, error="mute")], Status.FAILURE, "mute"),
        ([Reply(ok=False), KeyError("tone")], Status.FAILURE, "KeyError: 'tone'"),
    ],
)
async def test_what_fails_is_tried_again_and_then_given_up(
    tmp_path: Path, answers: list[Reply | Exception], status: Status, error: str
) -> None:
    bell = Bell(*answers)
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=2)
        done = await outcome_of(ringtime, await create(ringtime, delay=SOON))
    assert done.outcome is not None
    assert (done.status, done.outcome.attempts, done.outcome.error) == (status, 2, error)
    attempts = [bell.rung.get_nowait() for _ in range(2)]
    assert [each.attempt for each in attempts] == [1, 2]
    assert len({each.schedule.schedule_id for each in attempts}) == 1


async def test_a_failure_that_is_final_is_not_tried_again(tmp_path: Path) -> None:
    bell = Bell(Reply(ok=False, code=410, error="gone", is_final=True))
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=2)
        done = await outcome_of(ringtime, await create(ringtime, delay=SOON))
    assert done.outcome is not None
    assert (done.status, done.outcome.attempts, done.outcome.code) == (Status.FAILURE, 1, 410)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: True, "the callback type returned bool, not a Reply"),
        (lambda: False, "the callback type returned bool, not a Reply"),
        (lambda: "ok", "the callback type returned str, not a Reply"),
        (lambda: Reply(ok=False, error="half of a pair: \ud800"), "half of a pair: ?"),
        (lambda: Reply(ok=True, code=1 << 31), "ValueError: code is out of range: 2147483648"),
        (lambda: Reply(ok=True, code="200"), "TypeError: code must be a whole number"),  # type: ignore[arg-type]
        (lambda: Reply(ok=False, retry_after_ms=-1), "ValueError: retry_after_ms is out of range: -1"),
        (lambda: Reply(ok=False, error=None), "TypeError: error must be text"),  # type: ignore[arg-type]
    ],
)
async def test_what_a_function_may_do_wrong_is_a_failed_attempt(
    tmp_path: Path, answer: Callable[[], Any], error: str
) -> None:
    """And nothing more: its outcome is recorded, and so are those of the batch it is in."""
    ringtime = Ringtime(tmp_path, settings=replace(QUICK, limits=AppLimits(http_attempts=1)))

    @ringtime.callback("bell")
    async def ring(delivery: Delivery) -> Any:
        return answer()

    ringtime.callback("good")(_do_nothing)
    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        at = datetime.now(UTC) + SOON
        bad, good = await create(ringtime, at=at), await create(ringtime, at=at, kind="good")
        done = await outcome_of(ringtime, bad)
        assert (await outcome_of(ringtime, good)).status is Status.SUCCESS
    assert done.outcome is not None
    assert (done.status, done.outcome.error) == (Status.FAILURE, error)


async def _do_nothing(delivery: Delivery) -> None:
    return


async def test_a_cancelled_schedule_does_not_fire(tmp_path: Path) -> None:
    bell = Bell()
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        row = await create(ringtime, delay=timedelta(milliseconds=1_200))
        later = await create(ringtime, delay=timedelta(milliseconds=1_250))
        done = await ringtime.cancel_schedule(row.schedule.schedule_id)
        assert (done.promised, done.row.status) == (True, Status.DELETED)
        delivery = await bell.rung.get()  # the one behind it in the same partition
        assert delivery.schedule == later.schedule
        assert (await ringtime.get_schedule(row.schedule.schedule_id)).status is Status.DELETED
        assert bell.rung.empty()


async def test_creates_that_come_together_are_written_one_group_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, writing = list[int](), 0
    put_rows = SqliteStore.put_rows

    async def counted(store: SqliteStore, rows: Sequence[Row]) -> None:
        nonlocal writing
        writing += 1
        at_once.append(writing)
        await put_rows(store, rows)
        writing -= 1

    monkeypatch.setattr(SqliteStore, "put_rows", counted)
    settings = replace(QUICK, ingest=replace(QUICK.ingest, flush_rows=2, commit_lanes=8))
    ringtime = Ringtime(tmp_path / "data", settings=settings)
    ringtime.register_callback(Bell())
    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        await asyncio.gather(*(create(ringtime, delay=HOUR) for _ in range(6)))

    assert set(at_once) == {1}


async def test_everything_is_there_after_a_restart_and_what_came_due_fires(tmp_path: Path) -> None:
    async with quick(tmp_path, Bell()) as ringtime:
        app = await ringtime.register_app("shop", partitions=3)
        far = await create(ringtime, delay=HOUR)
        gone = await create(ringtime, delay=HOUR)
        await ringtime.cancel_schedule(gone.schedule.schedule_id)
        done = await outcome_of(ringtime, await create(ringtime, delay=SOON))
        due = await create(ringtime, delay=timedelta(milliseconds=400))
    bell = Bell()
    async with quick(tmp_path, bell) as ringtime:
        delivery = await bell.rung.get()
        assert delivery.schedule == due.schedule
        assert await ringtime.get_schedule(far.schedule.schedule_id) == far
        assert (await ringtime.get_schedule(gone.schedule.schedule_id)).status is Status.DELETED
        assert await ringtime.get_schedule(done.schedule.schedule_id) == done
        assert (await outcome_of(ringtime, due)).status is Status.SUCCESS
        assert bell.rung.empty()
        again = await ringtime.register_app("shop", partitions=3)
        assert again == replace(app, version=2)
        newer = await create(ringtime, delay=HOUR)
        assert newer.schedule.schedule_id != far.schedule.schedule_id


async def test_one_ringtime_can_be_entered_again(tmp_path: Path) -> None:
    ringtime = quick(tmp_path, Bell())
    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        row = await create(ringtime, delay=HOUR)
    with pytest.raises(RuntimeError, match="async with"):
        await ringtime.get_schedule(row.schedule.schedule_id)
    async with ringtime:
        assert await ringtime.get_schedule(row.schedule.schedule_id) == row


async def test_a_key_holds_in_the_next_process_too(tmp_path: Path) -> None:
    ringtime = quick(tmp_path, Bell())
    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        row = await create(ringtime, delay=HOUR, idempotency_key="order-17")
    async with ringtime:
        assert await create(ringtime, delay=HOUR, idempotency_key="order-17") == row
        with pytest.raises(KeyReused):
            await create(ringtime, delay=2 * HOUR, idempotency_key="order-17")


async def test_a_second_one_on_the_folder_is_refused(tmp_path: Path) -> None:
    async with quick(tmp_path, Bell()) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        second = quick(tmp_path)
        with pytest.raises(StartupError, match="data"):
            await second.__aenter__()
        await create(ringtime, delay=HOUR)  # the first is not harmed
    async with second:
        assert await second.register_app("shop", partitions=1)


async def test_without_a_folder_nothing_is_kept() -> None:
    bell = Bell()
    ringtime = Ringtime(settings=QUICK)
    ringtime.register_callback(bell)
    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        row = await outcome_of(ringtime, await create(ringtime, delay=SOON))
    async with ringtime:
        with pytest.raises(NotFound):
            await ringtime.get_schedule(row.schedule.schedule_id)


async def test_types_are_registered_before_entering(tmp_path: Path) -> None:
    async with quick(tmp_path) as ringtime:
        with pytest.raises(RuntimeError, match="before entering"):
            ringtime.register_callback(Bell())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"at": datetime(2027, 1, 1, 12)}, "at: must be timezone-aware"),  # noqa: DTZ001
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "scheduleTime: must not be in the past"),
        ({"delay": timedelta(seconds=-1)}, "delaySeconds: must be 0 or more"),
        ({"delay": timedelta(days=31)}, "delaySeconds: must be at most 30 days ahead"),
        ({"delay": HOUR, "at": datetime.now(UTC) + HOUR}, "scheduleTime: required: either"),
        ({}, "scheduleTime: required: either"),
        ({"delay": HOUR, "kind": "pigeon"}, "callback.type: must be a type this server knows: bell, http"),
    ],
)
async def test_a_bad_request_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    async with quick(tmp_path, Bell()) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        with pytest.raises(InvalidRequest, match=re.escape(fault)):
            await create(ringtime, **changes)


@pytest.mark.parametrize("callback", [{}, {"type": 5}, {"type": "bell", "details": "loud"}])
async def test_a_callback_of_no_form_is_refused(tmp_path: Path, callback: dict[str, object]) -> None:
    async with quick(tmp_path, Bell()) as ringtime:
        with pytest.raises(InvalidRequest, match="callback: must have"):
            await ringtime.create_schedule("shop", payload="", delay=HOUR, callback=callback)


async def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with quick(tmp_path, Bell()) as ringtime:
        with pytest.raises(NotFound, match="app shop"):
            await create(ringtime, delay=HOUR)
        for call in (ringtime.get_schedule, ringtime.cancel_schedule):
            with pytest.raises(NotFound):
                await call(uuid4())


def test_settings_that_contradict_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"dispatch\.read_ahead_ms"):
        Ringtime(
            tmp_path,
            settings=replace(
                QUICK,
                ingest=IngestSettings(commit_margin_ms=50),
                dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=50),
            ),
        )


@pytest.mark.parametrize(
    "zone",
    [UTC, timezone(timedelta(hours=-3, minutes=-30)), *map(ZoneInfo, ("Europe/Berlin", "Europe/London"))],
    ids=str,
)
@pytest.mark.parametrize("month", [1, 7])
def test_an_instant_is_the_same_in_every_zone_and_season(zone: Any, month: int) -> None:
    at = datetime(2027, month, 1, 12, tzinfo=UTC)
    assert to_ms("at", at.astimezone(zone)) == int(at.timestamp()) * 1000


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_is_told_apart(fold: int) -> None:
    at = datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
    assert to_ms("at", at) == int(at.timestamp()) * 1000


@pytest.mark.parametrize(("micros", "ms"), [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)])
def test_an_instant_is_rounded_up(micros: int, ms: int) -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    moved = to_ms("at", at + timedelta(microseconds=micros))
    assert moved == (to_ms("at", at) or 0) + ms


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "attempt 1: reminding kim@example.org of order 17",
        "SUCCESS after 1 attempt",
    ]
    assert (tmp_path / "data").is_dir()


async def test_a_callback_that_awaits_what_it_cancelled_is_a_failed_attempt(tmp_path: Path) -> None:
    ringtime = quick(tmp_path)
    calls: list[int] = []

    @ringtime.callback("bell")
    async def ring(delivery: Delivery) -> None:
        calls.append(delivery.attempt)
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async with ringtime:
        await ringtime.register_app("shop", partitions=1)
        done = await outcome_of(ringtime, await create(ringtime, delay=SOON))
        assert done.outcome is not None
        assert (done.status, done.outcome.error) == (Status.FAILURE, "CancelledError")
    assert calls == [1, 2]


async def test_a_schedule_is_changed_and_sent_now_with_the_bytes_it_has_then(tmp_path: Path) -> None:
    bell = Bell()
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        row = await create(ringtime, delay=HOUR)
        changed = await ringtime.patch_schedule(
            row.schedule.schedule_id, payload=b"\x00\xff", timeout=SOON, priority=Priority.HIGH
        )
        assert (changed.schedule.payload, changed.schedule.fire_ms) == ("AP8=", row.schedule.fire_ms)
        await ringtime.trigger_schedule(row.schedule.schedule_id)
        delivery = await asyncio.wait_for(bell.rung.get(), 60)
        assert (delivery.schedule.body, delivery.timeout_ms) == (b"\x00\xff", 60)
        ended = await outcome_of(ringtime, row)
        assert (ended.status, ended.schedule.payload) == (Status.SUCCESS, "AP8=")
