"""A receiver that says it is gone (410) is left alone; others at its destination, or of another app, not."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from tests.contract.builders import START_MS
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.test_replays import replay_of
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, small

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_dispatcher.delivery.ledger import RowItem
from ringtime_shared.callbacks.credentials import CIPHERTEXT
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, Status

PAUSE_MS = 20_000
SETTINGS = small(gone_pause_ms=PAUSE_MS)


def rows_to(town: Town, url: str, count: int, app: App | None = None, **others: Any) -> list[Row]:
    details = orjson.dumps({"to": "x", "url": url, **others})
    return [
        town.row(app or town.apps[0], SLOT_MS, partition=n % 2, callback_details=details)
        for n in range(count)
    ]


def times_of(town: Town, url: str) -> list[int]:
    return [at_ms for at_ms, sent in town.street.sent if sent.details["url"] == url]


@on_virtual_time
async def test_what_is_for_the_same_url_waits_and_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    town = Town(PLAIN, PLAIN, dispatch=SETTINGS)
    town.street.gone.add("/a")
    gone, beside = rows_to(town, "/a", 30), rows_to(town, "/b", 30)
    theirs = rows_to(town, "/c", 5, town.apps[1])
    with caplog.at_level(logging.WARNING):
        await town.live(*gone, *beside, *theirs, until_s=10)
    assert 1 <= len(times_of(town, "/a")) <= 2, "no more than were under way"
    sent = len(times_of(town, "/a"))
    assert await town.statuses(gone) == {Status.FAILURE: sent, Status.SCHEDULED: 30 - sent}
    assert await town.statuses([*beside, *theirs]) == {Status.SUCCESS: 35}
    assert [record.getMessage() for record in caplog.records] == [
        "app app-0: a receiver at x answered 410 (gone): what else is for it waits for 20 s"
    ]
    for row in await town.letters(town.apps[0]):
        assert (row.code, row.attempts) == (410, 1)

    town.street.gone.clear()  # mended
    await town.live(until_s=60)
    assert await town.statuses(gone) == {Status.FAILURE: sent, Status.SUCCESS: 30 - sent}
    later_ms = times_of(town, "/a")[sent:]
    assert later_ms[0] >= SLOT_MS + PAUSE_MS
    assert all(later - earlier >= 99 for earlier, later in pairwise(later_ms)), "at park_per_s"
    attempts = [(await town.outcome(row)).attempts for row in gone]
    assert attempts == [1] * 30, "waiting is no attempt"
    assert town.is_empty()


@on_virtual_time
async def test_one_that_stays_gone_is_asked_once_a_pause() -> None:
    town = Town(PLAIN, PLAIN, dispatch=SETTINGS)
    town.street.gone.add("/a")
    gone = rows_to(town, "/a", 30)
    await town.live(*gone, until_s=130)
    times_ms = times_of(town, "/a")
    assert len(times_ms) <= 2 + 130_000 // PAUSE_MS
    assert all(later - earlier >= PAUSE_MS for earlier, later in pairwise(times_ms[1:]))
    assert (await town.statuses(gone))[Status.FAILURE] == len(times_ms)

    # The same URL of another app is another receiver.
    town.street.gone.clear()
    others = [
        replace(row, place=row.place._replace(slot_ms=START_MS + 130_500))
        for row in rows_to(town, "/a", 4, town.apps[1])
    ]
    await town.live(*others, until_s=131)
    assert sum(sent.schedule.app_id == "app-1" for _, sent in town.street.sent) == 4


@on_virtual_time
async def test_a_replay_is_sent_at_once_and_its_success_ends_the_pause() -> None:
    town = Town(PLAIN, dispatch=SETTINGS)
    town.street.gone.add("/a")
    gone = rows_to(town, "/a", 10)
    await town.live(*gone, until_s=3)
    [first, *_] = [row for row in gone if await town.status(row) is Status.FAILURE]
    sent = len(times_of(town, "/a"))
    town.street.gone.clear()
    await town.live(replay_of(first, 1, START_MS + 4_000), until_s=5)
    assert len(times_of(town, "/a")) == sent + 1
    assert (await town.outcome(first)).status is Status.SUCCESS
    new = [replace(row, place=row.place._replace(slot_ms=START_MS + 6_000)) for row in rows_to(town, "/a", 4)]
    await town.live(*new, until_s=7)
    assert len(times_of(town, "/a")) == sent + 5, "what comes due now is sent"


@pytest.mark.parametrize("case", ["named by the policy", "switched off", "another callback type"])
@on_virtual_time
async def test_where_a_410_pauses_nothing(case: str) -> None:
    named = AppConfiguration(retry=RetryRules(statuses=("410",)), http_attempts=2)
    town = Town(
        named if case == "named by the policy" else PLAIN,
        dispatch=replace(SETTINGS, gone_pause_ms=0) if case == "switched off" else SETTINGS,
    )
    if case == "another callback type":
        town.street.receiver_key = None  # type: ignore[assignment]
    town.street.gone.add("/a")
    rows = rows_to(town, "/a", 6)
    await town.live(*rows, until_s=15)
    assert {sent.schedule.schedule_id for _, sent in town.street.sent} == {
        row.schedule.schedule_id for row in rows
    }
    assert await town.statuses(rows) == {Status.FAILURE: 6}


@on_virtual_time
async def test_urls_that_differ_in_a_hidden_credential_are_not_taken_for_one() -> None:
    town = Town(PLAIN, dispatch=SETTINGS)
    turns = town.deliverer._turns

    def receiver(url: str, **others: Any) -> str:
        [row] = rows_to(town, url, 1, **others)
        item = RowItem(town.owner(row), row)
        item.details, item.destination = turns._read_details(row.schedule)
        return turns._receiver_of(item)

    assert receiver("/a?token=***", **{CIPHERTEXT: "..."}) == ""
    named = [
        receiver("/a?token=***"),
        receiver("/a?x=1", **{CIPHERTEXT: "..."}),
        receiver("/a"),
        receiver("/b"),
    ]
    assert len(set(named)) == 4
    assert all(named)


def test_urls_are_what_is_gone_over_http() -> None:
    assert HttpCallback.receiver_key == "url"
