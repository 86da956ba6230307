"""Signatures, held against the vector of Standard Webhooks and against its own library."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from tests.contract.builders import make_app, make_row

from ringtime_dispatcher.callbacks.signing import _signer, signature_headers
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.clock import SystemClock

BODIES = 1_000


@pytest.fixture
def now_s() -> int:
    """Read anew by each test: the library refuses what is five minutes off."""
    return SystemClock().now_ms() // 1_000


def secret(rng: Random, size: int = 32) -> str:
    return "whsec_" + b64encode(rng.randbytes(size)).decode()


def delivery(*secrets: str, attempt: int = 1) -> Delivery:
    schedule = make_row(make_app()).schedule
    return Delivery(schedule=schedule, details={}, attempt=attempt, term=1, timeout_ms=1_000, secrets=secrets)


def verify(key: str, body: str, headers: dict[str, str]) -> None:
    Webhook(key).verify(body.encode(), headers, json_parse=False)


def test_known_vector() -> None:
    given = delivery("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    schedule = replace(given.schedule, schedule_id=cast(Any, "msg_p5jXN8AQM9LWM0D4loKWxJek"))
    body = '{"test": 2432232314}'
    assert signature_headers(replace(given, schedule=schedule), body, 1614265330) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_official_library_verifies_any_body(now_s: int) -> None:
    rng = Random(1)
    alphabet = [chr(code) for code in (*range(1, 0x250), 0x20AC, 0x4E2D, 0x1F600, 0x10FFFF)]
    bodies = ["", "ä", "\x00", *("".join(rng.choices(alphabet, k=rng.randrange(300))) for _ in range(BODIES))]
    for body in bodies:
        key = secret(rng, rng.randrange(24, 65))
        verify(key, body, signature_headers(delivery(key), body, now_s))


def test_one_flipped_bit_fails(now_s: int) -> None:
    rng = Random(2)
    key, body = secret(rng), json.dumps({"order": 17, "to": "ä"})
    headers = signature_headers(delivery(key), body, now_s)
    plain = body.encode()
    for bit in range(len(plain) * 8):
        flipped = bytearray(plain)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
            Webhook(key).verify(bytes(flipped), headers, json_parse=False)
    for name, value in (("webhook-id", headers["webhook-id"][::-1]), ("webhook-timestamp", str(now_s - 1))):
        with pytest.raises(WebhookVerificationError):
            verify(key, body, headers | {name: value})


def test_with_two_secrets_each_verifies_and_a_third_does_not(now_s: int) -> None:
    rng = Random(3)
    newer, older, other = (secret(rng) for _ in range(3))
    headers = signature_headers(delivery(newer, older), "body", now_s)
    for key in (newer, older):
        verify(key, "body", headers)
    with pytest.raises(WebhookVerificationError):
        verify(other, "body", headers)
    at = datetime.fromtimestamp(now_s, UTC)
    signed = [Webhook(key).sign(headers["webhook-id"], at, "body") for key in (newer, older)]
    assert headers["webhook-signature"] == " ".join(signed)


def test_without_a_secret_nothing_is_said(now_s: int) -> None:
    assert signature_headers(delivery(), "body", now_s) == {}


def test_id_is_the_schedules_in_every_attempt_and_time_is_the_attempts(now_s: int) -> None:
    first = delivery(secret(Random(4)))
    again = replace(first, attempt=2, term=5)
    sent = [signature_headers(first, "x", now_s), signature_headers(again, "x", now_s + 60)]
    assert {each["webhook-id"] for each in sent} == {str(first.schedule.schedule_id)}
    assert "." not in sent[0]["webhook-id"]
    assert [each["webhook-timestamp"] for each in sent] == [str(now_s), str(now_s + 60)]
    assert sent[0]["webhook-signature"] != sent[1]["webhook-signature"]


def test_signers_are_kept_up_to_a_bound(now_s: int) -> None:
    rng = Random(5)
    for _ in range(2_000):
        signature_headers(delivery(secret(rng)), "", now_s)
    info = _signer.cache_info()
    assert info.currsize == info.maxsize == 1_024
    key = secret(rng)
    for _ in range(3):
        signature_headers(delivery(key), "", now_s)
    assert _signer.cache_info().misses == info.misses + 1


def test_secrets_are_not_in_the_repr_of_a_delivery() -> None:
    key = secret(Random(6))
    assert key not in repr(delivery(key))
