"""Recurring schedules through both clients and the library: the same verbs, with the same effect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.client_rig import WAYS, Served, Verb, served, verbs

from ringtime_client import (
    BackfillEffect,
    DefinitionState,
    DstGap,
    Effect,
    HttpCallbackDetails,
    Interval,
    Misfire,
    Overlap,
    Priority,
    RecurringTimes,
    RetryRules,
    Unit,
)
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    VersionConflict,
)

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook", headers={"X": "1"})
DAILY = RecurringTimes(cron="30 2 * * *", zone="Europe/Berlin")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(params=WAYS)
async def run(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Verb]:
    async with verbs(request.param, server.url) as call:
        yield call


@pytest.fixture
async def app_id(run: Verb) -> str:
    name = f"app-{uuid4().hex}"
    await run("register_app", name, partitions=2)
    return name


def id_of(shown: Any) -> UUID:
    """Return the id of a definition or a run, however it is shown."""
    shown = getattr(shown, "schedule", shown)
    found: UUID = shown.recurring_id if hasattr(shown, "recurring_id") else shown.schedule_id
    return found


def state_of(shown: Any) -> DefinitionState:
    """Return what a client shows; the library has the definition itself."""
    found: DefinitionState = shown.state_at(NOW_MS()) if hasattr(shown, "state_at") else shown.state
    return found


def NOW_MS() -> int:  # noqa: N802
    return int(datetime.now(UTC).timestamp() * 1_000)


def runs_of(page: Any) -> list[Any]:
    return list(page.rows if hasattr(page, "rows") else page.schedules)


def definitions_of(page: Any) -> list[Any]:
    return list(page.definitions if hasattr(page, "definitions") else page.recurring)


async def test_put_patch_get_list_and_delete(run: Verb, app_id: str) -> None:
    put = {"times": DAILY, "payload": "1", "callback": HOOK}
    made = await run("put_recurring", app_id, "report", **put, revision=0)
    assert (made.name, made.revision, made.version) == ("report", 1, 1)
    assert (await run("put_recurring", app_id, "report", **put)).revision == 1  # it is so already
    with pytest.raises(VersionConflict):
        await run("put_recurring", app_id, "report", **put, revision=0)
    with pytest.raises(VersionConflict):
        await run("patch_recurring", app_id, "report", payload="2", revision=7)
    odd = {**HOOK.to_json(), "timeout": 5}
    with pytest.raises(InvalidRequest, match=r"callback\.timeout: is not known here"):
        await run("put_recurring", app_id, "report", **(put | {"callback": odd}))
    changed = await run(
        "patch_recurring",
        app_id,
        "report",
        times=RecurringTimes(
            interval=Interval(every=2, unit=Unit.WEEKS, anchor=datetime(2030, 1, 7, tzinfo=UTC))
        ),
        retry=RetryRules(attempts=1),
        misfire=Misfire.ALL,
        misfire_most=3,
        misfire_age=timedelta(minutes=10),
        overlap=Overlap.BUFFER_ONE,
        keeps=False,
        revision=1,
    )
    assert (changed.payload, changed.revision, changed.retry) == ("1", 2, RetryRules(attempts=1))
    assert changed.misfire_most == 3
    found = await run("get_recurring", app_id, "report")
    assert found == changed
    assert await run("find_recurring", id_of(made)) == changed
    times = getattr(found, "times", found)
    assert times.interval.unit is Unit.WEEKS
    assert [definitions_of(await run("list_recurring", app_id, size=1))] == [[changed]]
    gone = await run("delete_recurring", app_id, "report")
    assert gone.state is DefinitionState.DELETED
    assert definitions_of(await run("list_recurring", app_id)) == []
    deleted = definitions_of(await run("list_recurring", app_id, state=DefinitionState.DELETED))
    assert [each.name for each in deleted] == ["report"]
    for verb in ("get_recurring", "delete_recurring", "pause_recurring", "trigger_recurring", "list_runs"):
        with pytest.raises(NotFound, match="recurring schedule"):
            await run(verb, app_id, "report")


async def test_bytes_a_timeout_and_a_priority(run: Verb, app_id: str) -> None:
    put = {"times": DAILY, "callback": HOOK, "payload": b"\x00\xff", "priority": Priority.HIGH}
    made = await run("put_recurring", app_id, "report", **put, timeout=timedelta(seconds=7))
    assert sent_by(made) == ("AP8=", True, 7_000, Priority.HIGH)
    changed = await run("patch_recurring", app_id, "report", timeout=timedelta(seconds=9))
    assert sent_by(changed) == ("AP8=", True, 9_000, Priority.HIGH)
    changed = await run("patch_recurring", app_id, "report", payload="{}", priority=Priority.LOW)
    assert sent_by(changed) == ("{}", False, 9_000, Priority.LOW)
    changed = await run("patch_recurring", app_id, "report", payload=b"{}")
    assert sent_by(changed) == ("e30=", True, 9_000, Priority.LOW)
    assert sent_by(await run("put_recurring", app_id, "report", **(put | {"priority": None}))) == (
        "AP8=",
        True,
        None,
        Priority.NORMAL,
    )


def sent_by(shown: Any) -> tuple[str, bool, int | None, Priority]:
    """Return what a definition says of what is sent, however it is shown."""
    if hasattr(shown, "sending"):
        sending = shown.sending
        return shown.payload, sending.is_base64, sending.timeout_ms, sending.priority
    return shown.payload, shown.payload_encoding == "base64", shown.timeout_ms, Priority(shown.priority)


async def test_pause_resume_trigger_and_runs(run: Verb, app_id: str) -> None:
    made = await run("put_recurring", app_id, "report", times=DAILY, payload="", callback=HOOK)
    paused = await run("pause_recurring", app_id, "report", reason="deploy")
    assert state_of(paused) is DefinitionState.PAUSED
    until = datetime.now(UTC) + timedelta(days=3)
    assert state_of(await run("pause_recurring", app_id, "report", until=until)) is DefinitionState.PAUSED
    held = await run("list_recurring", app_id, state=DefinitionState.PAUSED)
    assert [each.name for each in definitions_of(held)] == ["report"]
    assert state_of(await run("resume_recurring", app_id, "report")) is DefinitionState.ACTIVE
    asked = await run("trigger_recurring", app_id, "report")
    future = runs_of(await run("list_runs", app_id, "report", when="future", size=1))
    past = runs_of(await run("list_runs", app_id, "report", when="past"))
    assert [id_of(each) for each in past] == [id_of(asked)]
    assert len(future) == 1
    assert id_of(await run("get_schedule", id_of(asked))) == id_of(asked)
    for verb in ("get_schedule", "cancel_schedule"):
        with pytest.raises(InvalidRequest, match="find_recurring"):
            await run(verb, id_of(made))
    with pytest.raises(InvalidRequest) as caught:
        await run("list_runs", app_id, "report", when="soon")
    assert [each.field for each in caught.value.violations] == ["when"]


async def test_backfill(run: Verb, app_id: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    asked = {"start": start, "end": start + timedelta(days=3)}
    await run("put_recurring", app_id, "report", times=DAILY, payload="", callback=HOOK)
    dry = await run("backfill_recurring", app_id, "report", **asked, dry_run=True)
    assert [each.effect for each in dry.runs] == [BackfillEffect.WOULD_BE_FILED] * 3
    filed = await run("backfill_recurring", app_id, "report", **asked, size=2)
    assert [each.effect for each in filed.runs] == [BackfillEffect.FILED] * 2
    assert all(each.schedule_id for each in filed.runs)
    again = await run("backfill_recurring", app_id, "report", **asked)
    assert [each.effect for each in again.runs] == [BackfillEffect.HAS_RUN] * 2 + [BackfillEffect.FILED]
    with pytest.raises(NotFound):
        await run("backfill_recurring", app_id, "none", **asked)
    with pytest.raises(InvalidRequest):
        await run("backfill_recurring", app_id, "report", start=start, end=start)


async def test_calendars(run: Verb, app_id: str) -> None:
    start = datetime(2030, 1, 1, 8, tzinfo=UTC)
    days = [date(2030, 5, 2), date(2030, 5, 1)]
    put = await run("put_calendar", app_id, "closed", dates=days, spans=[(start, start + timedelta(hours=1))])
    assert (put.name, put.revision) == ("closed", 1)
    found = await run("get_calendar", app_id, "closed")
    assert found == put
    if hasattr(found, "dates"):
        assert (found.dates, found.spans[0].start_time) == (["2030-05-01", "2030-05-02"], start)
    else:
        assert found.exclusions.dates == frozenset(days)
    assert [each.name for each in await run("list_calendars", app_id)] == ["closed"]
    times = replace(DAILY, calendars=("closed",), start=datetime(2030, 4, 30, tzinfo=UTC))
    await run("put_recurring", app_id, "report", times=times, payload="", callback=HOOK)
    shown = await run("preview_recurring", app_id, "report", size=2)
    assert [each.effect for each in shown] == [None, Effect.EXCLUDED, Effect.EXCLUDED, None]
    assert await run("preview_times", app_id, times=times, size=2) == shown
    with pytest.raises(Conflict, match="report"):
        await run("delete_calendar", app_id, "closed")
    await run("delete_recurring", app_id, "report")
    await run("delete_calendar", app_id, "closed")
    for verb in ("get_calendar", "delete_calendar"):
        with pytest.raises(NotFound, match="calendar closed"):
            await run(verb, app_id, "closed")
    with pytest.raises(InvalidRequest, match="exclusionCalendars"):
        await run("preview_times", app_id, times=times)


async def test_previews(run: Verb, app_id: str) -> None:
    await run("put_recurring", app_id, "report", times=DAILY, payload="", callback=HOOK)
    shown = await run("preview_recurring", app_id, "report", size=3)
    assert [each.index for each in shown] == [1, 2, 3]
    start = datetime(2030, 3, 30, tzinfo=UTC)
    jump = RecurringTimes(cron="30 2 * * *", zone="Europe/Berlin", start=start, dst_gap=DstGap.SKIP)
    effects = [each.effect for each in await run("preview_times", app_id, times=jump, size=2)]
    assert effects == [None, Effect.SKIPPED, None]
    for bad in (0, 101):
        with pytest.raises(InvalidRequest, match="size"):
            await run("preview_times", app_id, times=DAILY, size=bad)
    with pytest.raises(InvalidRequest) as caught:
        await run("preview_times", app_id, times=RecurringTimes(cron="x"))
    assert {each.field for each in caught.value.violations} == {"cronExpression", "timeZone"}
