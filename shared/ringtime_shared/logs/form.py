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

from ringtime_shared.absent import absent
from ringtime_shared.logs.requests import request_id

# With rich it would make tracebacks that nobody here asks for: a tenth of what a service imports.
with absent("rich"):
    from structlog.dev import ConsoleRenderer, plain_traceback
    from structlog.processors import JSONRenderer
    from structlog.stdlib import ProcessorFormatter
    from structlog.typing import EventDict, Processor, WrappedLogger

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


def formatter(service: str, *, is_json: bool, has_colours: bool = False) -> logging.Formatter:
    """Return what makes a line of a record, for people or for programs."""

    def fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        record = event["_record"]
        return _fields(record, event, {"service": service, "pid": record.process} if is_json else {})

    spell: list[Processor]
    if is_json:
        spell = [JSONRenderer(serializer=_to_json)]
    else:
        renderer = ConsoleRenderer(
            colors=has_colours, exception_formatter=plain_traceback, timestamp_key="time", pad_event_to=0
        )
        spell = [_printable, renderer]
    return ProcessorFormatter(processors=[fields, *spell])


def _fields(record: logging.LogRecord, event: EventDict, process: Mapping[str, object]) -> EventDict:
    at = datetime.fromtimestamp(record.created, UTC)
    line: dict[str, Any] = {
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1_000:03}Z",
        "level": record.levelname.lower(),
        **process,
        "event": _cut(str(event["event"]), MOST_CHARS),
    }
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            line[name] = value if isinstance(value, int) else _cut(str(value), MOST_CHARS)
    if (asked := request_id()) is not None:
        line["request_id"] = asked
    if (error := _error_of(record, event)) is not None:
        if record.name.partition(".")[0] in _DRIVERS:
            line["error"] = _cut(" ".join(f"{type(error).__name__}: {error}".split()), MOST_CHARS)
        else:
            trace = logging.Formatter().formatException((type(error), error, error.__traceback__))
            line["exception"] = _cut(trace, MOST_TRACEBACK_CHARS, from_end=True)
    line["logger"] = record.name
    return line


def _error_of(record: logging.LogRecord, event: EventDict) -> BaseException | None:
    told = event.get("exc_info") or record.exc_info
    return told[1] if isinstance(told, tuple) else None


def _cut(text: str, most: int, *, from_end: bool = False) -> str:
    """Return a text of at most so many characters; of a traceback the end says the most."""
    if len(text) <= most:
        return text
    return f"[...] {text[-most:]}" if from_end else f"{text[:most]} [...]"


def _to_json(line: EventDict, **_: object) -> str:
    return json.dumps(line, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def _printable(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Escape what would move the cursor, or begin a line; a traceback keeps its own lines."""
    for name, value in line.items():
        if isinstance(value, str):
            unsafe = _TRACEBACK_UNSAFE if name == "exception" else _UNSAFE
            line[name] = unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return line
