"""Bytes, timeouts and priorities of schedules, on their way out; and changed filings: when they are sent."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from dataclasses import replace
from uuid import UUID

from tests.contract.builders import START_MS, make_app, make_move, make_row, make_update
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_owned, make_rig
from tests.unit.dispatcher.test_signing import delivery

from ringtime_dispatcher.callbacks.http.callback import parse_route, request_bytes
from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.fairness.fair_queue import FairQueue, Rank, Share
from ringtime_shared.models.schedule import Change, Place, Row, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.schedules.changing import BEHIND_MS, FRESH_MS, LOOKS_APART_MS
from ringtime_shared.settings import DispatchSettings

SLOT_MS = START_MS + 1_000
BYTES = bytes(range(256))
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_bytes_are_sent_and_signed_as_they_are() -> None:
    given = replace(delivery(KEY), details={"url": "http://127.0.0.1/x", "method": "POST"})
    schedule = replace(given.schedule, payload=b64encode(BYTES).decode(), sending=Sending(is_base64=True))
    route = parse_route("http://127.0.0.1/x")
    assert route is not None
    request = request_bytes(route, replace(given, schedule=schedule), 7)
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == BYTES
    assert b"Content-Length: 256" in head
    signed = signature_headers(given, BYTES, 7)["webhook-signature"]
    assert f"webhook-signature: {signed}".encode() in head
    assert signature_headers(given, b"words", 7) == signature_headers(given, "words", 7)


def test_what_waits_for_one_destination_goes_by_its_rank_and_no_app_gains_by_it() -> None:
    queue: FairQueue[str] = FairQueue(1, 1)
    share = Share(in_flight=1, per_s=None, weight=1)
    for n, rank in enumerate([Rank.LAST, Rank.USUAL, Rank.FIRST, Rank.LAST, Rank.USUAL, Rank.FIRST]):
        queue.put("a", share, "x", f"{rank.value} {n}", 0, rank)
    for n in range(6):
        queue.put("b", share, "x", f"other {n}", 0)
    taken = deque[str]()
    while (item := queue.take(0)) is not None:
        taken.append(item)
        queue.end("b" if item.startswith("other") else "a", "x", item)
    assert [each for each in taken if not each.startswith("other")] == [
        "first 2", "first 5", "usual 1", "usual 4", "last 0", "last 3"
    ]  # fmt: skip
    assert all(taken[n].startswith("other") != taken[n + 1].startswith("other") for n in range(11))


@on_virtual_time
async def test_a_timeout_of_its_own_counts() -> None:
    rig = make_rig()
    row = rig.row(rig.clock.now_ms())
    sending = Sending(timeout_ms=70, priority=Priority.HIGH)
    rig.receiver.open.clear()
    await rig.put(replace(row, schedule=replace(row.schedule, sending=sending)))
    await asyncio.sleep(0.2)
    assert rig.receiver.sent[0][1].timeout_ms == 70
    assert "70 ms" in (await rig.stored(await _moved(rig, row))).log[0].error


async def _moved(rig: Rig, row: Row) -> Row:
    place = (await rig.stored(row)).moved_to
    assert place is not None
    return replace(row, place=place)


def changed(row: Row, slot_ms: int, at_ms: int, payload: str, token: int = 1) -> Row:
    schedule = replace(row.schedule, payload=payload, fire_ms=slot_ms)
    move = make_move(row, slot_ms)
    return replace(move, schedule=schedule, change=Change(at_ms, token), attempts=0, log=())


async def _point(rig: Rig, row: Row, at: Row) -> None:
    await rig.store.real.put_updates([make_update(row, moved_to=at.place)])


@on_virtual_time
async def test_a_changed_filing_in_force_is_sent_at_its_slot_after_two_looks() -> None:
    rig = make_rig()
    now_ms = rig.clock.now_ms()
    row = rig.row(now_ms + 9_000)
    filing = changed(row, now_ms + 600, now_ms, "new")
    await rig.store.real.put_rows([row])
    await rig.put(filing)
    await _point(rig, row, filing)
    await asyncio.sleep(1)
    assert [each.schedule.payload for _, each in rig.receiver.sent] == ["new"]
    assert rig.receiver.times_ms() == [now_ms + 600]
    home = await rig.stored(row)
    assert home.outcome is not None
    assert (home.outcome.status, home.outcome.changed_in) == (Status.SUCCESS, filing.place)
    looks = [at for name, at in rig.store.calls if name == "fetch_row" and at == row.place]
    assert len(looks) == 2


@on_virtual_time
async def test_one_that_is_not_in_force_waits_for_its_pointer_and_behind_what_is() -> None:
    rig = make_rig()
    now_ms = rig.clock.now_ms()
    row, other = rig.row(now_ms + 300_000), rig.row(now_ms + 300_000)
    late, never = changed(row, now_ms + 600, now_ms, "late"), changed(other, now_ms + 600, now_ms, "never")
    await rig.store.real.put_rows([row, other])
    await rig.put(late, never)
    await asyncio.sleep(5)
    assert rig.receiver.sent == []
    await _point(rig, row, late)
    await asyncio.sleep(1 + LOOKS_APART_MS / 1_000 + 0.1)
    assert [each.schedule.payload for _, each in rig.receiver.sent] == ["late"]
    await asyncio.sleep(FRESH_MS / 1_000)
    closed = await rig.stored(never)
    assert closed.moved_to is not None
    assert closed.moved_to.slot_ms == other.place.slot_ms + BEHIND_MS
    assert (await rig.stored(other)).moved_to is None


@on_virtual_time
async def test_a_retry_of_what_was_changed_stays_with_it_and_its_age_counts_from_then() -> None:
    rig = make_rig()
    now_ms = rig.clock.now_ms()
    row = rig.row(now_ms - 40 * 86_400_000)
    filing = changed(row, now_ms + 500, now_ms, "new")
    filing = replace(filing, schedule=replace(filing.schedule, expires_ms=now_ms + 86_400_000))
    rig.receiver.answers = [Reply(ok=False, code=500)]
    await rig.store.real.put_rows([row])
    await rig.put(filing)
    await _point(rig, row, filing)
    await asyncio.sleep(1)
    again = await rig.stored(await _moved(rig, row))
    assert (again.attempts, again.change, again.schedule) == (1, filing.change, filing.schedule)


@on_virtual_time
async def test_changed_filings_whose_home_rows_cannot_be_read_keep_no_other_app_waiting() -> None:
    rig, mail = make_rig(), make_app(number=1)
    now_ms, fetch_row = rig.clock.now_ms(), rig.store.real.fetch_row

    async def hang(place: Place, schedule_id: UUID) -> Row | None:
        if place.app_id == rig.app.app_id:
            await asyncio.Event().wait()
        return await fetch_row(place, schedule_id)

    rig.store.real.fetch_row = hang  # type: ignore[method-assign]
    for n in range(200):
        row = rig.row(now_ms + 90_000 + n)
        await rig.put(changed(row, now_ms + 600, now_ms, "stuck"))
    row = make_row(mail, now_ms + 90_000, callback_type="sim")
    filing = changed(row, now_ms + 600, now_ms, "new")
    await rig.store.real.put_rows([row, filing])
    await _point(rig, row, filing)
    assert rig.deliverer.accept(make_owned(mail), filing)
    await asyncio.sleep(1)
    assert [each.schedule.payload for _, each in rig.receiver.sent] == ["new"]
    await rig.deliverer.close()


@on_virtual_time
async def test_what_a_crash_would_have_sent_again_is_bounded() -> None:
    rig = make_rig(dispatch=DispatchSettings(max_in_flight=5, outcome_batch=2))
    gate = rig.store.hold("put_updates")
    await rig.put(*(rig.row(SLOT_MS) for _ in range(50)))
    await asyncio.sleep(5)
    assert 5 <= len(rig.receiver.sent) < 2 * 5
    gate.set()
    await asyncio.sleep(5)
    assert len(rig.receiver.sent) == 50
    assert rig.deliverer.is_idle
