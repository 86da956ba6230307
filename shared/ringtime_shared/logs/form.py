"""What is in a line, and how it is spelled.

| field | is |
|---|---|
| `time` | when, UTC, to the millisecond |
| `level` | debug, info, warning, error or critical |
| `service`, `pid` | which process says it |
| `event` | what happened, in words |
| those of `FIELDS` | what it is about, where that is known |
| `request_id` | of the request it belongs to |
| `error` | of a library's error: its class and words, in place of a traceback |
| `exception` | the traceback of a bug |
| `repeated`, `dropped` | see `bounds` |
| `logger` | the module that says it |

Whatever is in a text, it stays in it: control characters and, in JSON, what is beyond ASCII are escaped, so
that neither a name of a client's choosing nor a server's message can begin a line, or move a cursor.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ringtime_shared.logs.requests import request_id

#: names that `extra` may have
FIELDS = (
    "app_id",
    "schedule_id",
    "recurring_id",
    "job_id",
    "key_id",
    "node",
    "instance",
    "attempt",
    "code",
    "took_ms",
    "status",
    "repeated",
    "dropped",
)
MOST_CHARS, MOST_TRACEBACK_CHARS = 4_000, 16_000
#: libraries that log with a traceback that a server is away: it is no bug, and their last line says it all
_DRIVERS = frozenset({"cassandra", "aetcd", "grpc", "aiokafka", "opentelemetry", "urllib3"})
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_TRACEBACK_UNSAFE = re.compile(_UNSAFE.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))


_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = (f"\x1b[{31 + n}m" for n in range(6))
_OF_LEVEL = {"debug": _GREEN, "info": _GREEN, "warning": _YELLOW}
_NEEDS_QUOTES = re.compile(r"[\s='\"]")


def formatter(service: str, *, is_json: bool, has_colours: bool = False) -> logging.Formatter:
    """Return what makes a line of a record, for people or for programs."""
    return _ForPrograms(service) if is_json else _ForPeople(has_colours)


class _ForPrograms(logging.Formatter):
    """One JSON object."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = _fields(record, {"service": self._service, "pid": record.process})
        return json.dumps(line, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


class _ForPeople(logging.Formatter):
    """What happened first, what it is about as `name=value` behind it, a traceback below."""

    def __init__(self, has_colours: bool) -> None:
        super().__init__()
        self._has_colours = has_colours

    def format(self, record: logging.LogRecord) -> str:
        line = {name: _printable(name, value) for name, value in _fields(record, {}).items()}
        at, level, event, logger = (line.pop(name) for name in ("time", "level", "event", "logger"))
        trace = line.pop("exception", None)
        paint = self._paint
        said = [
            paint(at, _DIM),
            f"[{paint(f'{level:<9}', _OF_LEVEL.get(level, _RED), _BOLD)}]",
            *([paint(event, _BOLD)] if event else []),
            f"[{paint(logger, _BOLD, _BLUE)}]",
            *(f"{paint(name, _CYAN)}={paint(_quoted(line[name]), _MAGENTA)}" for name in sorted(line)),
        ]
        return " ".join(said) + ("" if trace is None else f"\n{trace}")

    def _paint(self, text: str, *colours: str) -> str:
        return f"{''.join(colours)}{text}{_RESET}" if self._has_colours else text


def _quoted(value: object) -> str:
    return repr(value) if not isinstance(value, str) or _NEEDS_QUOTES.search(value) else value


def _fields(record: logging.LogRecord, process: Mapping[str, object]) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.created, UTC)
    line: dict[str, Any] = {
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1_000:03}Z",
        "level": record.levelname.lower(),
        **process,
        "event": _cut(record.getMessage(), MOST_CHARS),
    }
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            line[name] = value if isinstance(value, int) else _cut(str(value), MOST_CHARS)
    if (asked := request_id()) is not None:
        line["request_id"] = asked
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        if record.name.partition(".")[0] in _DRIVERS:
            line["error"] = _cut(" ".join(f"{type(error).__name__}: {error}".split()), MOST_CHARS)
        else:
            trace = logging.Formatter().formatException((type(error), error, error.__traceback__))
            line["exception"] = _cut(trace, MOST_TRACEBACK_CHARS, from_end=True)
    line["logger"] = record.name
    return line


def _cut(text: str, most: int, *, from_end: bool = False) -> str:
    """Return a text of at most so many characters; of a traceback the end says the most."""
    if len(text) <= most:
        return text
    return f"[...] {text[-most:]}" if from_end else f"{text[:most]} [...]"


def _printable(name: str, value: Any) -> Any:
    """Escape what would move the cursor, or begin a line; a traceback keeps its own lines."""
    if not isinstance(value, str):
        return value
    unsafe = _TRACEBACK_UNSAFE if name == "exception" else _UNSAFE
    return unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
