"""The request bodies as tables: one table drives the parser and the OpenAPI document.

Keys are matched without regard to case and unknown ones are passed over, as the seed does. `null` is the
same as leaving a field out, except where a field says otherwise. The types are exact: `true` is no number
and `"1"` is none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from ringtime_shared.callbacks import http_rules, kafka_rules
from ringtime_shared.callbacks.http_rules import METHODS, shown
from ringtime_shared.errors import WHOLE_BODY, Violation


@dataclass(frozen=True, slots=True)
class Kind:
    """A JSON type, as Python sees it and as JSON Schema does."""

    types: tuple[type, ...]
    rule: str
    schema: Mapping[str, object]
    holds: type = object  #: of an object: what all its values are


TEXT = Kind((str,), "must be a string", {"type": "string"})
WHOLE = Kind((int,), "must be a whole number", {"type": "integer", "minimum": 0})
NUMBER = Kind((int, Decimal), "must be a number", {"type": "number", "minimum": 0})
FLAG = Kind((bool,), "must be true or false", {"type": "boolean"})
LIST = Kind((list,), "must be a list", {"type": "array"})
OBJECT = Kind((dict,), "must be an object", {"type": "object"})
TEXTS = Kind(
    (dict,),
    "must be an object of strings",
    {"type": "object", "additionalProperties": {"type": "string"}},
    holds=str,
)
INSTANT = Kind(
    (int, Decimal, str),
    "must be epoch seconds as a number, or an ISO 8601 instant as a string",
    {"type": ["number", "string"]},
)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a request object."""

    name: str
    kind: Kind
    doc: str
    schema: Mapping[str, object] | None = None  #: instead of the kind's own
    nullable: bool = True  #: whether null stands for leaving it out; else it is of the wrong type


class Shape:
    """One request object."""

    def __init__(self, *fields: Field, required: tuple[str, ...] = (), is_closed: bool = False) -> None:
        """`is_closed`: unknown keys are refused, because one passed over would change what is asked for."""
        self.fields = fields
        self.required = required
        self.is_closed = is_closed
        self._names = frozenset(field.name for field in fields)
        self._by_key = {key: field for field in fields for key in (field.name, field.name.lower())}

    def read(self, value: object, path: str, wrong: list[Violation]) -> dict[str, object]:
        """Return the known fields by their proper names; note those of the wrong type in `wrong`."""
        if not isinstance(value, dict):
            wrong.append(Violation(path.rstrip(".") or WHOLE_BODY, "must be an object"))
            return {}
        found: dict[str, object] = {}
        for key, item in value.items():
            field = self._by_key.get(key) or self._by_key.get(key.lower())
            if field is None:
                if self.is_closed:
                    wrong.append(Violation(path + (shown(key) or WHOLE_BODY), "is not known here"))
                continue
            if item is None and field.nullable:
                continue
            if type(item) not in field.kind.types:
                wrong.append(Violation(path + field.name, field.kind.rule))
                continue
            found[field.name] = item
            if field.kind.holds is not object:
                wrong += _check_values(cast(dict[str, object], item), field.kind.holds, path + field.name)
        return found

    def with_own_keys(self, value: dict[str, object]) -> dict[str, object]:
        """Return the object with known keys under their proper names, and the others as they are."""
        if value.keys() <= self._names:
            return value
        own = ((self._by_key.get(key) or self._by_key.get(key.lower()), key, value[key]) for key in value)
        return {key if field is None else field.name: item for field, key, item in own}

    def schema(self) -> dict[str, object]:
        """Return this shape as JSON Schema."""
        properties = {
            field.name: {**(field.schema or field.kind.schema), "description": field.doc}
            for field in self.fields
        }
        shape: dict[str, object] = {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
        }
        return {**shape, "additionalProperties": False} if self.is_closed else shape


def _check_values(value: dict[str, object], kind: type, path: str) -> list[Violation]:
    if set(map(type, value.values())) <= {kind}:
        return []
    return [
        Violation(f"{path}.{shown(key)}".rstrip("."), "must be a string")
        for key, item in value.items()
        if type(item) is not kind
    ]


def _ref(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}"}


RETRY_POLICY = Shape(
    Field("attempts", WHOLE, "Attempts in all, the first included. A schedule: no more than its app."),
    Field("firstDelayMs", WHOLE, "Bound of the first wait; a wait is random up to its bound, 1 s at least."),
    Field("factor", NUMBER, "What the bound is multiplied by after each failure, 1 to 100."),
    Field("maxDelayMs", WHOLE, "Largest bound; also the longest Retry-After that is followed."),
    Field("maxAgeSeconds", WHOLE, "Give up this long after the fire time. A schedule: no more than its app."),
    Field(
        "statuses",
        LIST,
        "HTTP statuses worth another attempt; 410 only where it is named itself.",
        {"type": "array", "maxItems": 50, "items": {"type": ["string", "integer"]}},
    ),
)
CONFIGURATION = Shape(
    Field("futureScheduleCreationPeriod", WHOLE, "How far ahead a schedule may lie, in days."),
    Field("firedScheduleRetentionPeriod", WHOLE, "How long a fired schedule can be read, in days."),
    Field("payloadSize", WHOLE, "Largest payload, in bytes."),
    Field("httpRetries", WHOLE, "HTTP attempts in all, the first included."),
    Field("httpTimeout", WHOLE, "Total deadline of one HTTP attempt, in milliseconds."),
    Field("maxLatenessSeconds", WHOLE, "Later than this a callback is recorded MISS and not sent."),
    Field("retryPolicy", OBJECT, "When a failed callback is tried again.", _ref("RetryPolicy")),
    Field("maxInFlight", WHOLE, "Callbacks under way at once on one dispatcher."),
    Field("maxPerSecond", WHOLE, "Callbacks begun in a second on one dispatcher. Left out: no limit."),
    Field("weight", WHOLE, "Share of a busy dispatcher against other apps, 1 to 100. Left out: 1."),
)
NEW_APP = Shape(
    Field("appId", TEXT, "1 to 128 letters, digits, _ and -; the first a letter or a digit."),
    Field(
        "partitions", WHOLE, "Poller instances; one serves about 1,000 callbacks a minute. 0: the default."
    ),
    Field("active", FLAG, "Whether schedules can be created. Left out: false."),
    Field("configuration", OBJECT, "Left out or 0: the server's defaults.", _ref("Configuration")),
    required=("appId",),
)
CALLBACK = Shape(
    Field("type", TEXT, "A callback type this server knows; `http` always is."),
    Field("details", OBJECT, "What the type needs; for `http` see HttpDetails.", _ref("HttpDetails")),
    required=("type", "details"),
)
HTTP_DETAILS = Shape(
    Field("url", TEXT, "An absolute http or https URL of at most 2,048 characters."),
    Field("method", TEXT, "The request method.", {"type": "string", "enum": list(METHODS)}),
    Field("headers", TEXTS, "At most 30 request headers."),
    required=("url", "method"),
)
KAFKA_DETAILS = Shape(
    Field("topic", TEXT, "A topic that the app may write to."),
    Field("key", TEXT, "Key of the record, at most 1,024 bytes. Left out: the schedule's id."),
    Field("partition", WHOLE, "Partition of the topic. Left out: the key decides."),
    Field("headers", TEXTS, "At most 30 headers of the record."),
    required=("topic",),
)
#: what the callback types that come with Ringtime read of `callback.details`
DETAILS: Mapping[str, Shape] = {http_rules.NAME: HTTP_DETAILS, kafka_rules.NAME: KAFKA_DETAILS}
NEW_SIGNING_SECRET = Shape(
    Field(
        "secret",
        TEXT,
        "Your own: `whsec_` and the base64 of 24 to 64 random bytes. Left out: a new one is made.",
    ),
)
REPLAYS = Shape(
    Field(
        "scheduleIds",
        LIST,
        "These schedules, and none of the keys below.",
        {"type": "array", "minItems": 1, "maxItems": 1_000, "items": {"type": "string", "format": "uuid"}},
        nullable=False,  # a client's empty list may come as null, which must not mean all
    ),
    Field("startTime", INSTANT, "From here on. Left out: a day before endTime. At most 31 days before it."),
    Field("endTime", INSTANT, "Up to here, inclusive. Left out: now."),
    Field("size", WHOLE, "Most dead letters to take, 1 to 1,000. Left out: 1,000."),
    Field("continuationToken", TEXT, "Go on where an earlier answer ended."),
    is_closed=True,
)
NEW_SCHEDULE = Shape(
    Field("appId", TEXT, "A registered, active app."),
    Field("payload", TEXT, "Sent as the body of the callback; may be empty."),
    Field("scheduleTime", INSTANT, "Epoch seconds, fractions allowed, or an ISO 8601 instant with offset."),
    Field("delaySeconds", NUMBER, "Instead of scheduleTime: how long from now."),
    Field("callback", OBJECT, "What to call.", _ref("Callback"), nullable=False),
    Field("retryPolicy", OBJECT, "Where it differs from the app's.", _ref("RetryPolicy")),
    Field("cronExpression", TEXT, "Refused unless empty: this version offers no recurring schedules."),
    Field("scheduleId", TEXT, "Ignored if it is a UUID: the server makes the id."),
    required=("appId", "payload", "callback"),
)
