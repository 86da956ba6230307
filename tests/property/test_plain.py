"""Creates are answered alike whether `plain` reads them or not; so are batches of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ingest.rig import NOW_S, dumps, http_callback, schedule_body
from tests.unit.ingest.test_shortcut import BothWays

from ringtime_ingest.http.plain import read_plain

pytestmark = pytest.mark.slow

texts = st.text(max_size=8) | st.sampled_from([":", '":"', "a:b", "\\u003a", "{", "é", "\x7f"])
keys = texts | st.sampled_from(["X-A", "x-a", "url", "method", "headers", "topic", "key"])
times: st.SearchStrategy[object] = st.integers(-1, 10**12) | st.sampled_from(
    [
        NOW_S + 60,
        NOW_S + 0.25,
        "2027-01-15T09:00:00Z",
        "2027-01-15T09:00:00+01:00",
        "soon",
        "",
        None,
        True,
        [],
        {},
    ]
)
flat = st.dictionaries(keys, texts, max_size=3)
others = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | flat
callbacks = (
    st.builds(lambda headers: http_callback(headers=headers), st.dictionaries(keys, texts, max_size=3))
    | st.fixed_dictionaries(
        {
            "type": st.sampled_from(["http", "kafka", "sim", ""]),
            "details": st.dictionaries(keys, texts | flat | others),
        }
    )
    | others
)
bodies = st.builds(
    lambda changes: schedule_body(**changes),
    st.fixed_dictionaries(
        {},
        optional={
            "appId": st.sampled_from(["test", "idle", "none", "a:b", "", None]),
            "payload": texts | others,
            "scheduleTime": times | st.just(...),
            "delaySeconds": times,
            "labels": flat | others,
            "callback": callbacks,
            "APPID": texts,
            "x": others,
        },
    ),
)


@st.composite
def spelled(draw: Any) -> bytes:
    """A body in one of the ways that clients write it, perhaps with a key more, or a byte of it another."""
    text = json.dumps(
        draw(bodies),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])),
    )
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.sampled_from([n for n, letter in enumerate(text) if letter == "{"]))
        more = f"{json.dumps(draw(keys))}:{json.dumps(draw(texts))}"
        text = text[: at + 1] + more + ("" if text[at + 1] == "}" else ",") + text[at + 1 :]
    if draw(st.integers(0, 3)) == 0:
        old, new = draw(
            st.sampled_from([('"', "\\u0022"), (":", "\\u003a"), ("6", "6.0"), ("6", "6e0"), ("/", "\\/")])
        )
        text = text.replace(old, new, draw(st.integers(1, 9)))
    sent = text.encode(errors="surrogatepass")
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(sent) - 1))
        sent = sent[:at] + draw(st.binary(max_size=1)) + sent[at + 1 :]
    return sent


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["/goscheduler/schedules", "/goscheduler/schedule"]), spelled())
def test_a_create(target: str, body: bytes) -> None:
    asyncio.run(BothWays().call("POST", target, body))


@settings(max_examples=100, deadline=None)
@given(st.lists(spelled(), max_size=3), st.sampled_from([",", ", "]), st.booleans())
def test_a_batch(bodies: list[bytes], comma: str, is_twice: bool) -> None:
    items = comma.encode().join(bodies)
    twice = b',"schedules":[]' if is_twice and len(bodies) > 2 else b""
    asyncio.run(
        BothWays().call("POST", "/goscheduler/schedules/batch", b'{"schedules": [%b]%b}' % (items, twice))
    )


@settings(max_examples=100, deadline=None)
@given(payload=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_what_clients_write_is_plain(payload: str) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        body = schedule_body(
            payload=payload, labels={"a": "b:c"}, callback=http_callback(headers={"X-A": "a:b"})
        )
        assert read_plain(json.dumps(body, ensure_ascii=False, separators=separators).encode()) is not None


def test_callbacks_of_types_that_are_not_ours_are_not_shared() -> None:
    """What a plugin does to details reaches no other create; those of ours are read once."""
    for kind, is_shared in (("http", True), ("pager", False)):
        body = dumps(schedule_body(callback={"type": kind, "details": {"url": "https://example.com/"}}))
        first, second = read_plain(body), read_plain(body)
        assert first is not None
        assert second is not None
        assert first.callback_details == second.callback_details
        assert (first.callback_details is second.callback_details) is is_shared


def test_a_callback_that_was_read_before_vouches_for_no_other() -> None:
    good = dumps(schedule_body())
    assert read_plain(good) is not None
    for once, twice in (
        (b'"type": "http"', b'"type": "http", "type": "http"'),
        (b'"method": "GET"', b'"method": "GET", "method": "GET"'),
        (b'"Accept":', b'"accept": "x", "Accept":'),
    ):
        assert once in good
        assert read_plain(good.replace(once, twice)) is None
        assert read_plain(good) is not None
