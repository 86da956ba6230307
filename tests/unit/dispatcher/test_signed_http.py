"""What a receiver gets from an app with signing secrets, off the wire, held against the official library."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest
from standardwebhooks import WebhookVerificationError
from tests.contract.builders import make_app, make_row
from tests.unit.signed_receiver import Receiver, receiving, verify

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.http_rules import METHODS
from ringtime_shared.callbacks.protocol import Delivery, Reply
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.clock import ManualClock, SystemClock
from ringtime_shared.settings import EgressSettings

NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD1nVyZCOg4+8="
BODIES = ["", '{"order": 17}', '{"to": "Jürgen 😀"}', " \r\n\t\x00", "x" * 30_000]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def ask_nobody(host: str) -> NoReturn:
    raise OSError(host)


@asynccontextmanager
async def http(clock: ManualClock | None = None) -> AsyncIterator[HttpCallback]:
    settings = EgressSettings()
    policy = EgressPolicy.of(settings, loopback=True)
    callback = HttpCallback(policy, Resolver(settings, lookup=ask_nobody), clock=clock)
    yield callback
    await callback.close()


def delivery(
    receiver: Receiver, *secrets: str, body: str = "{}", method: str = "POST", **changes: Any
) -> Delivery:
    details = {"url": receiver.url, "method": method}
    schedule = make_row(make_app(), payload=body, callback_details=json.dumps(details).encode()).schedule
    given: dict[str, Any] = {"attempt": 1, "term": 1, "timeout_ms": 5_000} | changes
    return Delivery(schedule=schedule, details=details, secrets=secrets, **given)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", BODIES, ids=["empty", "json", "not ascii", "blanks", "long"])
async def test_the_bytes_that_arrive_are_those_that_were_signed(
    receiver: Receiver, method: str, body: str
) -> None:
    given = delivery(receiver, NEWER, OLDER, body=body, method=method)
    async with http() as callback:
        assert await callback.invoke(given) == Reply(ok=True, code=200)
    [(headers, raw)] = receiver.got
    assert raw == body.encode()
    verify([NEWER, OLDER], headers, raw)
    assert headers["webhook-id"] == headers["schedule-id"] == str(given.schedule.schedule_id)
    with pytest.raises(WebhookVerificationError):
        verify([NEWER], headers, raw + b" ")


async def test_without_a_secret_no_signature_header_is_sent(receiver: Receiver) -> None:
    async with http() as callback:
        await callback.invoke(delivery(receiver))
    [(headers, _)] = receiver.got
    assert [name for name in headers if name.startswith("webhook-")] == []


async def test_each_attempt_is_dated_anew_by_the_clock_it_was_given(receiver: Receiver) -> None:
    clock = ManualClock(SystemClock().now_ms() // 1_000 * 1_000 + 999)
    given = delivery(receiver, NEWER)
    async with http(clock) as callback:
        await callback.invoke(given)
        clock.advance(1)
        await callback.invoke(given)
    sent = [headers for headers, _ in receiver.got]
    dated_s = [int(headers["webhook-timestamp"]) for headers in sent]
    assert dated_s == [clock.now_ms() // 1_000 - 1, clock.now_ms() // 1_000]
    assert len({headers["webhook-id"] for headers in sent}) == 1
    for headers, raw in receiver.got:
        verify([NEWER], headers, raw)


async def test_a_failed_attempt_says_nothing_of_the_secret(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = 500
    given = delivery(receiver, NEWER, OLDER)
    async with http() as callback:
        refused = await callback.invoke(given)
        receiver.url = "http://127.0.0.1:1/"
        unheard = await callback.invoke(delivery(receiver, NEWER))
    assert (refused.ok, unheard.ok) == (False, False)
    for text in (repr(refused), repr(unheard), repr(given), caplog.text):
        assert NEWER[6:] not in text
        assert OLDER[6:] not in text
