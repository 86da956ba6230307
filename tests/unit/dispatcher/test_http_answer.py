"""Reading an answer: what it means, where it ends, and how little of a bad one is read."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtime_dispatcher.callbacks.http.answer import (
    BODY_BYTES,
    HEAD_BYTES,
    HEAD_LINES,
    INTERIM_ANSWERS,
    MOST_RETRY_AFTER_S,
    AnswerReader,
)

NOW = datetime(2026, 11, 25, 21, 0, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1_000)
YEAR_MS = MOST_RETRY_AFTER_S * 1_000


def read(*pieces: bytes, is_head: bool = False) -> AnswerReader:
    reader = AnswerReader(is_head=is_head)
    for piece in pieces:
        if reader.feed(piece):
            return reader
    reader.end()
    return reader


COMPLETE = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 \r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA ;x=y\r\n0123456789\r\n0;z\r\nx: y\r\nz:\r\n\r\n",
    b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
]


@pytest.mark.parametrize("answer", COMPLETE)
def test_after_a_complete_answer_the_connection_is_free(answer: bytes) -> None:
    assert read(answer).is_complete
    assert not read(answer + b"x").is_complete, "nobody asked for more"
    assert not read(answer[:-1]).is_complete
    assert read(*(answer[at : at + 1] for at in range(len(answer)))).is_complete


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"a" * 20_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5000\r\n" + b"a" * 20_000,
    ],
)
def test_after_any_doubt_it_is_not(answer: bytes) -> None:
    assert not read(answer).is_complete
    assert read(answer).status in (101, 200)


def test_an_answer_to_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    assert read(answer, is_head=True).is_complete
    assert not read(answer).is_complete


@pytest.mark.parametrize(
    ("value", "wait_ms"),
    [
        (b"7", 7_000),
        (b" 007\t", 7_000),
        (b"0", 0),
        (b"31622400", YEAR_MS),
        (b"31622401", YEAR_MS),
        (b"9" * 5_000, YEAR_MS),
        (b"0" * 5_000, 0),
        (b"0" * 5_000 + b"7", 7_000),
        (b"Wed, 25 Nov 2026 21:00:30 GMT", 30_000),
        (b"Wednesday, 25-Nov-26 21:00:30 GMT", 30_000),
        (b"Wed Nov 25 21:00:30 2026", 30_000),
        (b"Wed, 25 Nov 2026 20:00:00 GMT", 0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", YEAR_MS),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"7, 8", None),
        (b"soon", None),
        (b"\xff\xfe\x00", None),
        ("٣".encode(), None),
        ("²".encode("latin-1"), None),
        (b"Wed, 99 Nov 2026 99:99:99 GMT", None),
        (b"Wed, 25 Nov 99999999999 21:00:30 GMT", None),
        (b"Wed, 25 Nov 2026 21:00:30 +99999999999", None),
        (b"Wed, 25 Nov 2026 21:00:30 GMT" * 100, None),
    ],
)
def test_retry_after(value: bytes, wait_ms: int | None) -> None:
    reader = read(b"HTTP/1.1 503 Busy\r\nretry-after:" + value + b"\r\n\r\n")
    assert reader.status == 503
    assert reader.retry_after_ms(NOW_MS) == wait_ms


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)))  # noqa: DTZ001 - made aware below
def test_retry_after_as_a_date(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    value = format_datetime(at, usegmt=True).encode()
    wait_ms = read(b"HTTP/1.1 503 Busy\r\nretry-after: " + value + b"\r\n\r\n").retry_after_ms(NOW_MS)
    assert wait_ms == min(max(int((at - NOW).total_seconds()) * 1_000, 0), YEAR_MS)


def test_what_a_folded_header_says_is_read() -> None:
    reader = read(b"HTTP/1.1 503 Busy\r\nx: y\r\n z\r\nretry-after:\r\n\t7\r\n\r\n")
    assert (reader.status, reader.retry_after_ms(NOW_MS)) == (503, 7_000)


def test_headers_of_interim_answers_are_not_those_of_the_answer() -> None:
    reader = read(b"HTTP/1.1 102 Busy\r\nretry-after: 9\r\n\r\nHTTP/1.1 503 Busy\r\n 1\r\n\r\n")
    assert (reader.status, reader.retry_after_ms(NOW_MS)) == (503, None)


@pytest.mark.parametrize(
    ("value", "idle_s"),
    [(b"timeout=5", 5), (b"max=3, Timeout=72", 72), (b"timeout=x", None), (b"timeout=999999", None)],
)
def test_how_long_a_server_keeps_a_connection(value: bytes, idle_s: int | None) -> None:
    assert read(b"HTTP/1.1 200 OK\r\nkeep-alive: " + value + b"\r\n\r\n").idle_s() == idle_s


words = st.sampled_from(
    [
        *(
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 503 No\r\n",
            b"HTTP/1.1 100 Go on\r\n",
            b"HTTP/1.0 404",
            b"\r\n",
        ),
        *(b"\n", b" ", b"\t", b":", b"content-length: 3\r\n", b"content-length: 99999999999999\r\n", b"abc"),
        *(b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"fffffff\r\n", b"\x00\xff"),
        *(
            b"retry-after: 5\r\n",
            b"retry-after: Wed\r\n",
            b"connection: close\r\n",
            b"x" * 20_000,
            b"x: y\r\n" * 400,
        ),
    ]
)
answers = st.lists(words | st.binary(max_size=20), max_size=20).map(b"".join)


@settings(deadline=None)
@given(answers, st.lists(st.integers(1, 60_000), max_size=8))
def test_any_bytes_are_read_alike_however_they_are_cut(answer: bytes, cuts: list[int]) -> None:
    whole = read(answer)
    places = sorted({0, *(cut % (len(answer) + 1) for cut in cuts), len(answer)})
    parts = read(*(answer[a:b] for a, b in pairwise(places)))
    assert (whole.status, whole.fault) == (parts.status, parts.fault)
    assert whole.retry_after_ms(NOW_MS) == parts.retry_after_ms(NOW_MS)
    # In one piece, what follows an answer is seen with it; in parts, when the connection is to be used next.
    assert whole.is_complete <= parts.is_complete


@settings(deadline=None)
@given(answers, st.integers(1, 30_000))
def test_reading_ends(prefix: bytes, size: int) -> None:
    reader, fed = AnswerReader(), 0
    for piece in (prefix, *[b"y" * size] * 200_000):
        fed += len(piece)
        if reader.feed(piece):
            break
    assert fed <= len(prefix) + HEAD_BYTES + BODY_BYTES + size


@pytest.mark.parametrize(
    ("count", "status", "fault"),
    [
        (INTERIM_ANSWERS, 200, ""),
        (INTERIM_ANSWERS + 1, None, f"more than {INTERIM_ANSWERS} interim answers"),
    ],
)
def test_interim_answers_are_bounded(count: int, status: int | None, fault: str) -> None:
    reader = read(b"HTTP/1.1 102 Wait\r\n\r\n" * count + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert (reader.status, reader.fault) == (status, fault)


@pytest.mark.parametrize("is_over", [False, True])
def test_lines_before_the_body_are_bounded(is_over: bool) -> None:
    """Short ones: thousands of them fit into the bytes that are read of a head."""
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEAD_LINES - 2))
    assert reader.feed(b"a: b\r\na: b\r\n" if is_over else b"a: b\r\n") is is_over
    assert reader.status == 200
