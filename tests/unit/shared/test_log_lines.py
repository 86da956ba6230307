"""Log lines: what is in one, what cannot get out of one, and which are left out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ringtime_shared.logs.bounds import Bounds
from ringtime_shared.logs.form import MOST_CHARS, MOST_TRACEBACK_CHARS, formatter
from ringtime_shared.logs.process import _Handler
from ringtime_shared.logs.requests import Scope, name_request, request_id, under_way

OURS = "ringtime_shared.there"
HOSTILE = 'a"b\\\r\nc\x00\x1b[2J\x7f\x9b\u2028\u202e\ud800é'


def record_of(message: object, *args: object, name: str = OURS, **fields: Any) -> logging.LogRecord:
    level = fields.pop("level", logging.WARNING)
    error = fields.pop("error", None)
    told = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(name, level, __file__, 7, message, args, told)
    record.process = 42
    vars(record).update(fields)
    return record


def json_of(record: logging.LogRecord) -> dict[str, Any]:
    text = formatter("ingest", is_json=True).format(record)
    assert len(text.splitlines()) == 1
    assert text.isascii()
    line: dict[str, Any] = json.loads(text)
    return line


def raised(message: str) -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_line_has_its_fields_in_one_order() -> None:
    record = record_of(
        "app %s waits", "shop", app_id="shop", schedule_id=7, color="red", created=1_800_000_000.25
    )
    assert list(json_of(record).items()) == [
        ("time", "2027-01-15T08:00:00.250Z"),
        ("level", "warning"),
        ("service", "ingest"),
        ("pid", 42),
        ("event", "app shop waits"),
        ("app_id", "shop"),
        ("schedule_id", 7),
        ("logger", OURS),
    ]


def test_nothing_in_a_text_begins_a_line_or_moves_a_cursor() -> None:
    record = record_of("no such app: %s", HOSTILE, app_id=HOSTILE)
    line = json_of(record)
    assert (line["event"], line["app_id"]) == (f"no such app: {HOSTILE}", HOSTILE)
    shown = formatter("ingest", is_json=False).format(record_of("%s", HOSTILE, app_id=HOSTILE))
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    assert "\\u001b[2J" in shown


def test_lines_are_of_bounded_length() -> None:
    error = raised("x" * 100_000)
    line = json_of(record_of("%s", "y" * 100_000, app_id="z" * 100_000, error=error))
    assert len(line["event"]) == len(line["app_id"]) == MOST_CHARS + 6
    assert len(line["exception"]) == MOST_TRACEBACK_CHARS + 6
    assert line["exception"].endswith("xxx")


def test_a_bug_has_its_traceback_in_the_line_and_a_driver_has_none() -> None:
    bug = json_of(record_of("a bug", error=raised("what is wrong")))
    assert bug["exception"].startswith("Traceback (most recent call last):\n")
    assert bug["exception"].endswith("\nValueError: what is wrong")
    away = json_of(record_of("no connection", name="cassandra.pool", error=raised("host\n is away")))
    assert (away["error"], "exception" in away) == ("ValueError: host is away", False)
    shown = formatter("ingest", is_json=False).format(record_of("a bug", error=raised(HOSTILE)))
    assert shown.splitlines()[1] == "Traceback (most recent call last):"
    assert "\x1b" not in shown


class Log:
    """What a process writes, by a clock of its own."""

    def __init__(self, quiet_s: float = 60, most: int = 100) -> None:
        self.now_s = 1_000.0
        self._stream = io.StringIO()
        self._handler = _Handler(self._stream, Bounds(quiet_s, most), lambda: self.now_s)
        self._handler.setFormatter(formatter("ingest", is_json=True))

    def say(self, *args: Any, **fields: Any) -> dict[str, Any] | None:
        """Log something; return its line, if one was written."""
        before = len(self._stream.getvalue())
        self._handler.handle(record_of(*args, **fields))
        text = self._stream.getvalue()[before:]
        return json.loads(text) if text else None


def test_what_is_said_again_is_counted_and_told_a_minute_later() -> None:
    log = Log()
    away = ("node %s: %s", "poll")
    first = log.say(*away, raised("away since 1 s"))
    assert first is not None
    assert first["event"] == "node poll: away since 1 s"
    for second in range(59):
        log.now_s = 1_000.0 + second
        assert log.say(*away, raised(f"away since {second} s")) is None
    assert log.say("node %s: %s", "seal", raised("away")) is not None, "another of ours says it"
    assert log.say("node %s: %s", "poll", KeyError("x")) is not None, "another error"
    log.now_s += 2
    again = log.say(*away, raised("still away"))
    assert again is not None
    assert again["repeated"] == 59
    log.now_s += 61
    assert "repeated" not in (log.say(*away, raised("away")) or {})


def test_what_a_library_says_is_one_whatever_it_counts() -> None:
    log = Log()
    tries = [log.say("no connection, again in %s s", n / 2, name="cassandra.pool") for n in range(5)]
    assert [line is not None for line in tries] == [True, False, False, False, False]


def test_two_bugs_are_never_one() -> None:
    log = Log()
    elsewhere = None
    try:
        raise ValueError("here")
    except ValueError as error:
        elsewhere = error
    said = [log.say("GET failed", error=each) is not None for each in (raised("a"), raised("b"), elsewhere)]
    assert said == [True, False, True]


def test_what_is_asked_for_by_debug_is_said_each_time() -> None:
    log = Log()
    assert all(log.say("tick", level=logging.DEBUG) for _ in range(3))
    assert all(Log(quiet_s=0).say("tick") for _ in range(3))


def test_no_more_lines_than_so_many_a_second_and_the_next_one_tells() -> None:
    log = Log(most=3)
    written = [log.say("bug of %s", n) is not None for n in range(10)]
    assert written == [True] * 3 + [False] * 7
    log.now_s += 1
    line = log.say("bug of %s", 11)
    assert line is not None
    assert line["dropped"] == 7


def test_a_line_that_was_one_too_many_has_not_been_said() -> None:
    log = Log(most=3)
    for n in range(3):
        log.say("bug of %s", n)
    assert log.say("the lease is lost") is None
    log.now_s += 1
    assert log.say("the lease is lost") is not None
    assert log.say("the lease is lost") is None


def test_kinds_of_lines_that_are_remembered_are_bounded() -> None:
    log = Log(most=10_000)
    for n in range(1_001):
        assert log.say("job %s waits", n)
    assert log.say("job %s waits", 0) is not None, "told longest ago, so forgotten first"
    assert log.say("job %s waits", 500) is None


@contextmanager
def within(*headers: tuple[bytes, bytes]) -> Iterator[dict[str, Any]]:
    scope: dict[str, Any] = {"headers": list(headers)}
    held: list[Scope] = [scope]
    under_way.set(held)
    try:
        yield scope
    finally:
        held.clear()


def test_lines_of_a_request_have_its_id_and_others_none() -> None:
    with within((b"x-request-id", b"deploy-1812")) as scope:
        assert json_of(record_of("it"))["request_id"] == name_request(scope) == "deploy-1812"
    with within() as scope:
        made = json_of(record_of("it"))["request_id"]
        assert made == json_of(record_of("it"))["request_id"] == name_request(scope)
        assert len(made) == 36
    assert request_id() is None
    assert "request_id" not in json_of(record_of("it"))


@pytest.mark.parametrize("brought", [(b"a\nb",), (b"x" * 129,), (b"",), (b"a", b"b"), ("ü".encode(),)])
def test_an_id_that_is_none_is_not_taken(brought: tuple[bytes, ...]) -> None:
    with within(*((b"x-request-id", each) for each in brought)):
        assert len(request_id() or "") == 36
