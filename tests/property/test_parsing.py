"""Whatever is sent, the answer is an envelope and never a 5xx."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ingest.rig import Client, Reply, make_rig, schedule_body

from ringtime_shared.api.instants import parse_delay
from ringtime_shared.callbacks.http_rules import check_http_details
from ringtime_shared.callbacks.url_rules import url_fault

pytestmark = pytest.mark.slow

PATHS = ["/goscheduler/schedules", "/goscheduler/schedule", "/goscheduler/apps"]
KEYS = [
    *(
        "appId",
        "payload",
        "scheduleTime",
        "delaySeconds",
        "callback",
        "type",
        "details",
        "url",
        "method",
        "headers",
    ),
    *("cronExpression", "scheduleId", "partitions", "active", "configuration", "payloadSize", "APPID", "x"),
]
VALUES = ["test", "http", "GET", "http://a/", "2027-01-15T09:00:00Z", 1_800_000_060, 5, True]
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(VALUES)
)  # floats hold NaN and infinities
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)


@cache
def _client() -> Client:
    """One for all: what was created before changes no rule of what may be sent."""
    return make_rig().client


def _send(path: str, body: bytes) -> Reply:
    return asyncio.run(_client().call("POST", path, body))


def _assert_sound(reply: Reply) -> None:
    assert reply.status < 500, reply.body
    status = reply.json["status"]
    assert status["statusType"] == ("Success" if reply.status == 200 else "Fail")
    assert reply.status == 200 or status["statusMessage"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), st.binary(max_size=300))
def test_any_bytes(path: str, body: bytes) -> None:
    _assert_sound(_send(path, body))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), documents)
def test_any_json(path: str, document: object) -> None:
    _assert_sound(_send(path, json.dumps(document).encode()))


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), documents, max_size=3), st.sampled_from(PATHS))
def test_good_create_with_some_keys_changed(changes: dict[str, Any], path: str) -> None:
    _assert_sound(_send(path, json.dumps(schedule_body(**changes)).encode()))


@settings(max_examples=300, deadline=None)
@given(documents, st.text(), st.text())
def test_good_create_with_other_details(details: object, name: str, value: str) -> None:
    for given_details in (details, {"url": value, "method": "GET", "headers": {name: value}}):
        body = schedule_body(callback={"type": "http", "details": given_details})
        _assert_sound(_send(PATHS[0], json.dumps(body).encode()))


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet="htps:/@#?[]%.\\x1-09a", max_size=40).map("http://".__add__))
def test_accepted_urls_hold_nothing_that_parsers_read_differently(url: str) -> None:
    if url_fault(url) is None:
        assert url.isascii()
        assert url.isprintable()
        authority = url.split("//", 1)[1].replace("?", "/").split("/", 1)[0]
        assert not set(authority) & set("@\\#% ")
        assert check_http_details({"url": url, "method": "GET"}) == []


@settings(max_examples=300, deadline=None)
@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False))
def test_delay_is_rounded_up_by_less_than_a_millisecond(seconds: Decimal) -> None:
    ms = parse_delay(seconds)
    assert Decimal(ms) / 1_000 >= seconds
    assert Decimal(ms - 1) / 1_000 < seconds or ms == 0
