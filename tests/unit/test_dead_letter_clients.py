"""Dead letters through the clients, the library and the page for users."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from tests.contract.builders import make_app, make_letter
from tests.unit.client_rig import Served, served
from tests.unit.test_library import Bell, create, outcome_of, quick

from ringtime import Reply, Ringtime
from ringtime_client import (
    AsyncRingtimeClient,
    DeadLetterView,
    HttpCallbackDetails,
    RingtimeClient,
    SkippedReplay,
    Status,
    UnexpectedAnswer,
    calls,
)
from ringtime_client.answers import settle
from ringtime_client.exchange import Answer, Call
from ringtime_shared.errors import AppInactive, InvalidRequest, NotFound, NotReplayable, OutcomeUnknown
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, RowUpdate

DOCS = Path(__file__).parents[2] / "docs" / "dead-letters.md"
HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
HOUR = timedelta(hours=1)
NAIVE = datetime(2027, 1, 1)  # noqa: DTZ001 - naive is the point

Verb = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(params=["async", "sync"])
async def run(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Verb]:
    """Return what calls a verb of one client, by its name."""
    if request.param == "async":
        async with AsyncRingtimeClient(server.url) as client:
            yield lambda verb, *args, **named: getattr(client, verb)(*args, **named)
    else:
        with RingtimeClient(server.url) as other:
            yield lambda verb, *args, **named: asyncio.to_thread(getattr(other, verb), *args, **named)


@pytest.fixture
async def app_id(run: Verb) -> str:
    name = f"app-{uuid4().hex}"
    await run("register_app", name, partitions=2)
    return name


def fail(server: Served, app_id: str, schedule_id: UUID, **changes: Any) -> DeadLetter:
    """Let a schedule of an hour ahead fail now, as if it had been filed again for this moment."""
    now_ms = round(datetime.now(UTC).timestamp() * 1_000)
    home = server.store.places[schedule_id]
    filing = home._replace(slot_ms=now_ms - 5_000)
    outcome = Outcome(status=Status.FAILURE, ended_ms=now_ms, fired_ms=now_ms, attempts=3, code=503)
    update = RowUpdate(place=home, schedule_id=schedule_id, moved_to=filing, outcome=outcome)
    letter = make_letter(
        make_app(app_id=app_id), filing.slot_ms, schedule_id=schedule_id, failed_ms=now_ms, **changes
    )

    async def record() -> None:
        await server.store.put_dead_letters([letter])
        await server.store.put_updates([update])

    asyncio.run_coroutine_threadsafe(record(), server.loop).result(60)
    return letter


async def failed(run: Verb, server: Served, app_id: str, **changes: Any) -> DeadLetter:
    view = await run("create_schedule", app_id, payload="", delay=HOUR, callback=HOOK)
    return fail(server, app_id, view.schedule_id, **changes)


async def test_letters_are_listed_counted_and_replayed(run: Verb, server: Served, app_id: str) -> None:
    letter = await failed(run, server, app_id, code=503, error="bu\nsy", replay=0)
    page = await run("list_dead_letters", app_id)
    assert page.token == ""
    [view] = page.letters
    assert view == DeadLetterView(
        schedule_id=letter.schedule_id,
        app_id=app_id,
        fire_time=view.fire_time,
        failed_at=view.failed_at,
        attempts=3,
        callback_type="http",
        replay=0,
        http_code=503,
        error="bu\nsy",
    )
    assert round(view.fire_time.timestamp() * 1_000) == letter.fire_ms
    assert round(view.failed_at.timestamp() * 1_000) == letter.failed_ms
    assert await run("count_dead_letters", app_id) == 1
    again = await run("replay_schedule", letter.schedule_id)
    assert (again.schedule_id, again.replay) == (letter.schedule_id, 1)
    assert timedelta(0) < again.next_attempt_at - datetime.now(UTC) < timedelta(seconds=5)
    assert await run("count_dead_letters", app_id) == 0
    result = await run("replay_dead_letters", app_id)
    assert (result.replayed, result.skipped, result.token) == (0, [], "")
    [view] = (await run("list_dead_letters", app_id, replayed=True)).letters
    assert view.replayed_at is not None


async def test_pages_and_ranges(run: Verb, server: Served, app_id: str) -> None:
    letters = [await failed(run, server, app_id) for _ in range(3)]
    end = datetime.now(UTC)
    found: list[UUID] = []
    token = ""
    for count in (2, 1):
        page = await run("list_dead_letters", app_id, size=2, token=token, end=end)
        assert len(page.letters) == count
        found += [view.schedule_id for view in page.letters]
        token = page.token
    assert token == ""
    assert sorted(found) == sorted(letter.schedule_id for letter in letters)
    for start, count in ((end - HOUR, 3), (end + HOUR, 0)):
        named = {"start": start, "end": end + 2 * HOUR}
        assert await run("count_dead_letters", app_id, **named) == count
        assert len((await run("list_dead_letters", app_id, **named)).letters) == count
    token = ""
    for count in (2, 1):
        result = await run("replay_dead_letters", app_id, start=end - HOUR, end=end, size=2, token=token)
        assert result.replayed == count
        token = result.token
    assert token == ""
    assert len((await run("list_dead_letters", app_id, replayed=None)).letters) == 3


async def test_chosen_ones_are_replayed(run: Verb, server: Served, app_id: str) -> None:
    letter, stranger = await failed(run, server, app_id), uuid4()
    result = await run("replay_dead_letters", app_id, schedule_ids=[letter.schedule_id, stranger])
    skipped = SkippedReplay(schedule_id=stranger, reason=f"no schedule {stranger}")
    assert (result.replayed, result.skipped, result.token) == (1, [skipped], "")
    assert await run("count_dead_letters", app_id) == 0


async def test_refusals_come_back_as_errors(run: Verb, server: Served, app_id: str) -> None:
    waiting = await run("create_schedule", app_id, payload="", delay=HOUR, callback=HOOK)
    with pytest.raises(NotReplayable) as caught:
        await run("replay_schedule", waiting.schedule_id)
    assert caught.value.status == "SCHEDULED"
    assert str(caught.value) == str(NotReplayable(str(waiting.schedule_id), "SCHEDULED"))
    with pytest.raises(NotFound) as unknown:
        await run("replay_schedule", uuid4())
    assert unknown.value.kind == "schedule"
    for verb in ("list_dead_letters", "count_dead_letters", "replay_dead_letters"):
        with pytest.raises(NotFound, match="app nobody"):
            await run(verb, "nobody")
        for bad in ("", "..", "a/b", "a?b"):
            with pytest.raises(InvalidRequest, match="appId"):
                await run(verb, bad)
        with pytest.raises(InvalidRequest, match=r"start: must be timezone-aware"):
            await run(verb, app_id, start=NAIVE)
        with pytest.raises(InvalidRequest, match="31 days"):
            await run(verb, app_id, start=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidRequest, match="size"):
        await run("list_dead_letters", app_id, size=1_001)
    with pytest.raises(InvalidRequest, match="continuation_token"):
        await run("list_dead_letters", app_id, token="x&size=2")
    with pytest.raises(InvalidRequest, match="continuationToken"):
        await run("replay_dead_letters", app_id, token="x")
    with pytest.raises(InvalidRequest, match="scheduleIds: must hold"):
        await run("replay_dead_letters", app_id, schedule_ids=[])
    with pytest.raises(InvalidRequest, match="not both"):
        await run("replay_dead_letters", app_id, schedule_ids=[uuid4()], size=0)
    letter = await failed(run, server, app_id)
    await run("deactivate_app", app_id)
    for verb, key in (("replay_schedule", letter.schedule_id), ("replay_dead_letters", app_id)):
        with pytest.raises(AppInactive):
            await run(verb, key)
    assert await run("count_dead_letters", app_id) == 1


def test_a_query_holds_what_was_asked() -> None:
    at = datetime(2027, 1, 1, 13, 30, tzinfo=UTC)
    call = calls.list_dead_letters("shop", start=at, end=None, size=7, token="a_-b", replayed=None)
    assert parse_qs(urlsplit(call.path).query) == {
        "start_time": ["2027-01-01T13:30:00+00:00"],
        "size": ["7"],
        "continuation_token": ["a_-b"],
        "replayed": ["all"],
    }
    assert calls.count_dead_letters("shop", start=None, end=None).path.endswith("/shop/dead-letters/count")


@pytest.mark.parametrize(
    "data", ["{}", '{"deadLetters":[{}],"continuationToken":""}', '{"deadLetters":7}', '{"count":"1"}']
)
def test_answers_of_another_shape_are_not_believed(data: str) -> None:
    answer = Answer(http=200, body=b'{"data":' + data.encode() + b"}")
    reads: list[Call[Any]] = [
        calls.list_dead_letters("shop", start=None, end=None),
        calls.count_dead_letters("shop", start=None, end=None),
    ]
    for read in reads:
        with pytest.raises(UnexpectedAnswer):
            settle(read, answer)
    many = calls.replay_dead_letters("shop", schedule_ids=None, start=None, end=None, size=None)
    writes: list[Call[Any]] = [calls.replay_schedule(uuid4()), many]
    for write in writes:
        with pytest.raises(OutcomeUnknown):
            settle(write, answer)


async def test_the_library_replays_what_its_callback_failed_at(tmp_path: Path) -> None:
    bell = Bell(Reply(ok=False, error="mute"), Reply(ok=False, error="mute", code=503))
    async with quick(tmp_path, bell) as ringtime:
        await ringtime.register_app("shop", partitions=2)
        row = await create(ringtime, delay=timedelta(milliseconds=60))
        schedule_id = row.schedule.schedule_id
        with pytest.raises(NotReplayable, match="SCHEDULED"):
            await ringtime.replay_schedule(schedule_id)
        assert (await outcome_of(ringtime, row)).status is Status.FAILURE
        [letter] = (await ringtime.list_dead_letters("shop")).letters
        assert (letter.schedule_id, letter.attempts, letter.code, letter.error) == (
            schedule_id,
            2,
            503,
            "mute",
        )
        assert await ringtime.count_dead_letters("shop") == 1
        replays = await asyncio.gather(
            ringtime.replay_schedule(schedule_id), ringtime.replay_schedule(schedule_id)
        )
        assert [each.replay for each in replays] == [1, 1]
        async with asyncio.timeout(60):
            while True:
                done = await ringtime.get_schedule(schedule_id)
                if done.status is Status.SUCCESS:
                    break
                await asyncio.sleep(0.005)
        assert await ringtime.count_dead_letters("shop") == 0
        await asyncio.sleep(0.3)  # long enough for the second filing to come up, and be closed
        done = await ringtime.get_schedule(schedule_id)
        assert (done.status, done.outcome and done.outcome.replay) == (Status.SUCCESS, 1)
        with pytest.raises(NotReplayable, match="SUCCESS"):
            await ringtime.replay_schedule(schedule_id)
    assert bell.rung.qsize() == 3, "two attempts that failed, and the replay once"


async def test_the_library_has_the_same_verbs() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=1)
        assert (await ringtime.replay_dead_letters("shop")).replays == []
        report = await ringtime.replay_dead_letters("shop", schedule_ids=[uuid4()])
        assert len(report.skipped) == 1
        for call, field in (
            (ringtime.list_dead_letters("shop", start=NAIVE), "start"),
            (ringtime.list_dead_letters("shop", start=datetime.now(UTC) + HOUR), "start"),
            (ringtime.list_dead_letters("shop", size=0), "size"),
            (ringtime.list_dead_letters("shop", token="x"), "token"),
            (ringtime.count_dead_letters("shop", end=NAIVE), "end"),
            (ringtime.replay_dead_letters("shop", schedule_ids=[]), "schedule_ids"),
            (ringtime.replay_dead_letters("shop", schedule_ids=[uuid4()], token="x"), "schedule_ids"),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await call
            assert [each.field for each in caught.value.violations] == [field]


def test_examples_of_the_page_run(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    all_of_them, chosen = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)

    def run_example(text: str) -> None:
        exec(compile(text.replace("http://127.0.0.1:8080", server.url), str(DOCS), "exec"), {})

    with RingtimeClient(server.url) as client:
        client.register_app("shop", partitions=1)
        schedules = [client.create_schedule("shop", payload="", delay=HOUR, callback=HOOK) for _ in range(3)]
        fail(server, "shop", schedules[0].schedule_id, code=503)
        fail(server, "shop", schedules[1].schedule_id, code=404)
        run_example(chosen)
        assert client.count_dead_letters("shop") == 1
        run_example(all_of_them)
        assert client.count_dead_letters("shop") == 0
    assert capsys.readouterr().out.split("\n")[:2] == ["1 wait", "replayed 1"]
