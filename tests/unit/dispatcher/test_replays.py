"""Dead letters that are filed again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import START_MS, key_of, make_outcome, make_update
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, small

from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import LOG_LENGTH, Row, Status


async def a_dead_letter(town: Town) -> Row:
    """Return a home row that was given up an hour ago."""
    home = town.row(town.apps[0], START_MS - 3_600_000)
    await town.store.real.put_rows([home])
    await town.store.real.put_updates([make_update(home, make_outcome(status=Status.FAILURE, attempts=5))])
    return home


def replay_of(home: Row, number: int, slot_ms: int = SLOT_MS) -> Row:
    return replace(home, place=home.place._replace(slot_ms=slot_ms), replay=number)


@on_virtual_time
async def test_a_replay_is_sent_although_the_delivery_had_failed() -> None:
    town = Town(AppConfiguration(retry=RetryRules(max_age_s=60)), dispatch=small())
    home = await a_dead_letter(town)
    replay = replay_of(home, 1)
    await town.live(replay, until_s=2)
    [(at_ms, delivery)] = town.street.sent
    assert SLOT_MS <= at_ms <= SLOT_MS + 1
    assert delivery.attempt == 1
    for row in (home, replay):
        outcome = await town.outcome(row)
        assert (outcome.status, outcome.replay, outcome.attempts) == (Status.SUCCESS, 1, 1)
    assert town.is_empty()


@on_virtual_time
async def test_a_replay_that_fails_is_retried_and_then_a_dead_letter_of_its_own() -> None:
    town = Town(
        AppConfiguration(http_attempts=3, retry=RetryRules(max_age_s=60)), dispatch=small(breaker_failures=0)
    )
    home = await a_dead_letter(town)
    town.street.down.add("x")
    await town.live(replay_of(home, 1), until_s=30)
    assert [delivery.attempt for _, delivery in town.street.sent] == [1, 2, 3]
    outcome = await town.outcome(home)
    assert (outcome.status, outcome.replay, outcome.attempts) == (Status.FAILURE, 1, 3)
    assert len(outcome.log) == 2 <= LOG_LENGTH
    [letter] = await town.letters(town.apps[0])
    assert (letter.replay, letter.attempts) == (1, 3)
    assert letter.slot_ms > SLOT_MS
    await town.live(replay_of(home, 2, START_MS + 31_000), until_s=31.5)
    assert len(town.street.sent) == 4, "and can be asked for again"


@pytest.mark.parametrize("ended", [1, 2])
@on_virtual_time
async def test_a_replay_that_has_its_outcome_is_closed(ended: int) -> None:
    town = Town(PLAIN)
    home = await a_dead_letter(town)
    await town.store.real.put_updates([make_update(home, make_outcome(replay=ended))])
    replay = replay_of(home, 1)
    await town.live(replay, until_s=2)
    assert town.street.sent == []
    assert not (await town.stored(replay)).is_live
    assert (await town.outcome(home)).replay == ended
    assert not town.owner(replay).is_open(key_of(replay))
    assert town.is_empty()


@pytest.mark.parametrize("apart_ms", [0, 3, 400, 5_000])
@on_virtual_time
async def test_two_filings_of_one_replay_are_sent_once(apart_ms: int) -> None:
    town = Town(PLAIN)
    town.street.slow_s = {"x": 0.5}
    home = await a_dead_letter(town)
    filings = [replay_of(home, 1), replay_of(home, 1, SLOT_MS + apart_ms)]
    await town.live(*filings, until_s=10)
    assert len(town.street.sent) == 1
    for filing in filings:
        assert not (await town.stored(filing)).is_live
        assert not town.owner(filing).is_open(key_of(filing))
    assert town.is_empty()


@on_virtual_time
async def test_two_filings_of_one_replay_are_sent_once_when_the_first_attempt_fails() -> None:
    town = Town(PLAIN, dispatch=small(breaker_failures=0))
    town.street.down.add("x")
    home = await a_dead_letter(town)
    await town.live(replay_of(home, 1), replay_of(home, 1, SLOT_MS + 100), until_s=1.9)
    town.street.down.clear()
    await town.live(until_s=20)
    assert [delivery.attempt for _, delivery in town.street.sent] == [1, 2]
    assert (await town.outcome(home)).attempts == 2
    assert town.is_empty()


@on_virtual_time
async def test_a_replay_of_a_cancelled_schedule_is_not_sent() -> None:
    town = Town(PLAIN)
    home = await a_dead_letter(town)
    await town.store.real.put_cancel(home.place, home.schedule.schedule_id, START_MS)
    await town.live(replay_of(home, 1), until_s=2)
    assert town.street.sent == []
