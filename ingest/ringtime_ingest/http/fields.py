"""The request bodies as tables: one table drives the parser and the OpenAPI document (see `shapes`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import cast

from ringtime_ingest.http.shapes import FLAG, LIST, NUMBER, OBJECT, TEXT, TEXTS, WHOLE, Field, Kind, Shape
from ringtime_ingest.service.signing import SECRET_PATTERN
from ringtime_ingest.service.tokens import CONTINUATION_PATTERN
from ringtime_shared.api.batches import MAX_ITEMS
from ringtime_shared.api.completions import ENDINGS, MAX_TIMEOUT_S
from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.api.configuration import description_of
from ringtime_shared.api.dead_letters import MAX_SIZE
from ringtime_shared.api.ids import (
    APP_ID_PATTERN,
    KEY_PATTERN,
    NAME_PATTERN,
    SECRET_ID_PATTERN,
)
from ringtime_shared.api.instants import INSTANT_PATTERN, LOOKS_LIKE_MS
from ringtime_shared.api.labels import KEY_PATTERN as LABEL_KEY_PATTERN
from ringtime_shared.api.labels import MAX_LABELS
from ringtime_shared.api.labels import VALUE_PATTERN as LABEL_VALUE_PATTERN
from ringtime_shared.api.recurring import (
    BACKFILL_SIZE,
    DELETE,
    KEEP,
    MAX_BACKFILL,
    MAX_MISFIRE_AGE_MS,
    MAX_MISFIRES,
    MAX_PREVIEW,
    MAX_REASON_CHARS,
    PREVIEW_SIZE,
)
from ringtime_shared.api.schedules import ENCODINGS, MAX_ERROR_CHARS
from ringtime_shared.apps.redaction import MOST_PATH_CHARS, MOST_PATHS, PATH_PATTERN
from ringtime_shared.apps.retry_rules import MOST_STATUSES, STATUS_PATTERN
from ringtime_shared.apps.rules import RESERVED
from ringtime_shared.callbacks import http_rules, kafka_rules
from ringtime_shared.callbacks.http_rules import METHODS
from ringtime_shared.callbacks.url_rules import MAX_URL_CHARS, URL_PATTERN
from ringtime_shared.ids import UUID_PATTERN
from ringtime_shared.models.app import AppConfiguration, SigningKind
from ringtime_shared.models.hooks import HookEvent
from ringtime_shared.models.recurring import Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.setting import Entry, FieldPath, entries_of
from ringtime_shared.models.times import DIALECT, DstGap, DstOverlap, Spread, Unit
from ringtime_shared.recurring.calendars import MAX_DAYS, MAX_ICS_CHARS, MAX_SPANS
from ringtime_shared.recurring.parsing import MAX_CALENDARS, MAX_COUNT, MOST_EVERY
from ringtime_shared.recurring.rules import MAX_EXPRESSION
from ringtime_shared.recurring.runs import MAX_WINDOW_MS


def whole(pattern: str) -> str:
    """Return a pattern as JSON Schema needs it to match a whole text."""
    return f"^(?:{pattern})$"


def text_of(pattern: str, **more: object) -> Mapping[str, object]:
    """Return the schema of a text that matches a pattern as a whole."""
    return {"type": "string", "pattern": whole(pattern), **more}


def any_case(words: Iterable[str]) -> str:
    """Return a pattern for words whose letters may be upper or lower; JSON Schema has no flag for it."""
    return "|".join("".join(f"[{x.lower()}{x.upper()}]" if x.isalpha() else x for x in w) for w in words)


INSTANT = Kind(
    (int, Decimal, str),
    "must be epoch seconds as a number, or an ISO 8601 instant as a string",
    {
        "anyOf": [
            {"type": "number", "minimum": 0, "exclusiveMaximum": LOOKS_LIKE_MS},
            {"type": "string", "format": "date-time", "pattern": whole(INSTANT_PATTERN)},
        ]
    },
)


def _ref(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}"}


def _with(name: str, without: str) -> dict[str, object]:
    """Return the schema of an object that has one of two fields."""
    not_null = {"not": {"type": "null"}}
    return {"required": [name], "properties": {name: not_null, without: {"type": "null"}}}


def _once(name: str, without: str) -> dict[str, object]:
    """Return the schema of a create of one run, whose time is in this field."""
    schema = _with(name, without)
    none = {"type": ["string", "null"], "maxLength": 0}
    return {
        **schema,
        "properties": {**cast("dict[str, object]", schema["properties"]), "cronExpression": none},
    }


def _upto(most: int) -> dict[str, object]:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _one_of(words: Sequence[str]) -> dict[str, object]:
    return {"type": "string", "enum": list(words)}


def _only(name: str) -> dict[str, object]:
    """Return the schema of a replay of ids, beside which nothing else is said."""
    others = ("startTime", "endTime", "size", "continuationToken")
    return {
        "required": [name],
        "properties": {name: {"type": "array"}, **{other: {"type": "null"} for other in others}},
    }


_CRON: Mapping[str, object] = {"type": "string", "maxLength": MAX_EXPRESSION}
NAME = text_of(NAME_PATTERN)
KEY = text_of(KEY_PATTERN)
APP_ID = text_of(APP_ID_PATTERN)
SCHEDULE_ID = text_of(UUID_PATTERN, format="uuid")
SECRET_ID = text_of(SECRET_ID_PATTERN)
TOKEN = text_of(f"(?:{CONTINUATION_PATTERN})?")
LABELS: Mapping[str, object] = {
    "type": "object",
    "maxProperties": MAX_LABELS,
    "propertyNames": {"pattern": whole(LABEL_KEY_PATTERN)},
    "additionalProperties": text_of(LABEL_VALUE_PATTERN),
}
_CONTROLLED = any_case(sorted(http_rules.CONTROLLED_NAMES))

_STATUSES: Mapping[str, object] = {
    "type": "array",
    "maxItems": MOST_STATUSES,
    "items": {
        "anyOf": [
            {"type": "integer", "minimum": 300, "maximum": 599},
            text_of(STATUS_PATTERN.replace("x", "[xX]")),
        ]
    },
}

_PATHS: Mapping[str, object] = {
    "type": "array",
    "maxItems": MOST_PATHS,
    "items": {**text_of(PATH_PATTERN), "maxLength": MOST_PATH_CHARS},
}


def _settings(model: type) -> Shape:
    """Return the object that sets what a model has."""
    return Shape(*(_field_of(entry) for entry in entries_of(model)))


def _field_of(entry: Entry) -> Field:
    name, doc = entry.name, description_of(entry)
    if entry.kind is int:
        return Field(name, WHOLE, doc)
    if entry.kind is float:
        number = {"type": "number", "minimum": 1, "maximum": entry.setting.most}
        return Field(name, NUMBER, doc, {"anyOf": [number, {"const": 0}]})
    if entry.kind is str:
        return Field(name, TEXT, doc, text_of(f"(?:{entry.setting.pattern})?"))
    if entry.kind is bool:
        return Field(name, FLAG, doc)
    if entry.kind is tuple:
        return Field(name, LIST, doc, _STATUSES)
    if entry.kind is FieldPath:
        return Field(name, LIST, doc, _PATHS)
    return Field(name, OBJECT, doc, _ref(name[:1].upper() + name[1:]))


RETRY_POLICY = _settings(RetryRules)
OWN_RETRY_POLICY = RETRY_POLICY.closed()
CONFIGURATION = _settings(AppConfiguration)
#: how a model's settings are read
SETTINGS: Mapping[type, Shape] = {RetryRules: RETRY_POLICY, AppConfiguration: CONFIGURATION}
NEW_APP = Shape(
    Field(
        "appId",
        TEXT,
        "1 to 128 letters, digits, _ and -; the first a letter or a digit.",
        {**APP_ID, "not": {"pattern": whole(any_case(RESERVED))}},
    ),
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
OWN_CALLBACK = CALLBACK.closed()
_HEADERS: Mapping[str, object] = {
    "type": "object",
    "maxProperties": http_rules.MAX_HEADERS,
    "propertyNames": {
        "pattern": whole(http_rules.NAME_PATTERN),
        "maxLength": http_rules.MAX_NAME_CHARS,
        "not": {"pattern": f"^(?:(?:{_CONTROLLED})$|{any_case(http_rules.CONTROLLED_PREFIXES)})"},
    },
    "additionalProperties": text_of(http_rules.VALUE_PATTERN),
}
HTTP_DETAILS = Shape(
    Field(
        "url",
        TEXT,
        "An absolute http or https URL that leads where callbacks may go.",
        text_of(URL_PATTERN, maxLength=MAX_URL_CHARS),
    ),
    Field("method", TEXT, "The request method.", {"type": "string", "enum": list(METHODS)}),
    Field(
        "headers",
        TEXTS,
        "At most 30 request headers, 8,192 bytes of names and values.",
        _HEADERS,
    ),
    Field(
        "secretHeaders",
        TEXTS,
        "Further headers, whose values are stored encrypted and never shown; they count as headers.",
        _HEADERS,
    ),
    required=("url", "method"),
)
KAFKA_DETAILS = Shape(
    Field("topic", TEXT, "A topic that the app may write to."),
    Field("key", TEXT, "Key of the record, at most 1,024 bytes. Left out: the schedule's id."),
    Field("partition", WHOLE, "Partition of the topic. Left out: the key decides."),
    Field("headers", TEXTS, "At most 30 headers of the record."),
    Field("secretHeaders", TEXTS, "Further headers, whose values are stored encrypted and never shown."),
    required=("topic",),
)
#: what the callback types that come with Ringtime read of `callback.details`
DETAILS: Mapping[str, Shape] = {http_rules.NAME: HTTP_DETAILS, kafka_rules.NAME: KAFKA_DETAILS}
NEW_SIGNING_SECRET = Shape(
    Field(
        "secret",
        TEXT,
        "Your own: `whsec_` and the base64 of 24 to 64 random bytes. Left out: a new one is made.",
        text_of(SECRET_PATTERN),
    ),
    Field(
        "kind",
        TEXT,
        "`ed25519`: a key pair, of which only the public key is shown; takes no `secret`. Left out: hmac.",
        _one_of([each.value for each in SigningKind]),
    ),
)
REPLAYS = Shape(
    Field(
        "scheduleIds",
        LIST,
        "These schedules, and none of the keys below.",
        {"type": "array", "minItems": 1, "maxItems": MAX_SIZE, "items": SCHEDULE_ID},
        nullable=False,  # a client's empty list may come as null, which must not mean all
    ),
    Field("startTime", INSTANT, "From here on. Left out: a day before endTime. At most 31 days before it."),
    Field("endTime", INSTANT, "Up to here, inclusive. Left out: now."),
    Field(
        "size",
        WHOLE,
        f"Most dead letters to take, 1 to {MAX_SIZE:,}. Left out: {MAX_SIZE:,}.",
        {"type": "integer", "minimum": 1, "maximum": MAX_SIZE},
    ),
    Field(
        "continuationToken",
        TEXT,
        "Go on where an earlier answer ended; the range may not end before that.",
        TOKEN,
    ),
    also={"oneOf": [_only("scheduleIds"), {"not": {"required": ["scheduleIds"]}}]},
    is_closed=True,
)
HOOKS = Shape(
    Field(HookEvent.SUCCESS.value, OBJECT, "Called when it was delivered.", _ref("OwnCallback")),
    Field(HookEvent.FAILURE.value, OBJECT, "Called when it was given up.", _ref("OwnCallback")),
    Field(
        HookEvent.MISSED.value, OBJECT, "Called when it was not sent, being too late.", _ref("OwnCallback")
    ),
    Field("includePayload", FLAG, "Whether they are sent the payload as well. Left out: false."),
    is_closed=True,
)
_PAYLOAD = (
    Field("payload", TEXT, "Sent as the body of the callback; may be empty."),
    Field(
        "payloadEncoding",
        TEXT,
        "`base64`: the bytes that it stands for are sent, and count as its size. Left out: text.",
        _one_of(ENCODINGS),
    ),
    Field(
        "timeoutMs",
        WHOLE,
        "Of one attempt, instead of the app's httpTimeout; at most as much as that may be.",
        {"type": "integer", "minimum": 1},
    ),
    Field(
        "priority",
        TEXT,
        "Which of the app's callbacks to one destination goes first, if they have to wait. Left out: normal.",
        _one_of(list(Priority)),
    ),
    Field("hooks", OBJECT, "Callbacks with how it ended, instead of the app's.", _ref("Hooks")),
)
_CONTENTS = (
    *_PAYLOAD,
    Field("callback", OBJECT, "What to call.", _ref("Callback"), nullable=False),
    Field("retryPolicy", OBJECT, "Where it differs from the app's.", _ref("RetryPolicy")),
)
#: the same of requests that goscheduler has not, in which unknown keys are refused
_OWN_CONTENTS = (
    *_PAYLOAD,
    Field("callback", OBJECT, "What to call.", _ref("OwnCallback"), nullable=False),
    Field("retryPolicy", OBJECT, "Where it differs from the app's.", _ref("OwnRetryPolicy")),
)
NEW_SCHEDULE = Shape(
    Field("appId", TEXT, "A registered, active app.", APP_ID),
    Field("scheduleTime", INSTANT, "Epoch seconds, fractions allowed, or an ISO 8601 instant with offset."),
    Field("delaySeconds", NUMBER, "Instead of scheduleTime: how long from now."),
    *_CONTENTS,
    Field(
        "cronExpression",
        TEXT,
        "Makes it a recurring schedule: in UTC, or with `CRON_TZ=` in another zone.",
        _CRON,
    ),
    Field("labels", TEXTS, "Of a one-time schedule: up to 16 keys and values to find it by.", LABELS),
    Field(
        "idempotencyKey",
        TEXT,
        "Of a one-time schedule, the same as the header `Idempotency-Key`: creates with one key make one"
        " schedule.",
        KEY,
    ),
    Field("scheduleId", TEXT, "Passed over if it is a UUID: the server makes the id.", SCHEDULE_ID),
    required=("appId", "payload", "callback"),
    also={
        "oneOf": [
            _once("scheduleTime", "delaySeconds"),
            _once("delaySeconds", "scheduleTime"),
            {
                "required": ["cronExpression"],
                "properties": {
                    "cronExpression": {"type": "string", "minLength": 1},
                    "idempotencyKey": {"type": "null"},
                    "labels": {"type": "null"},
                },
            },
        ]
    },
)
NAMED_SCHEDULE = Shape(
    Field("scheduleTime", INSTANT, "Epoch seconds, fractions allowed, or an ISO 8601 instant with offset."),
    Field("delaySeconds", NUMBER, "Instead of scheduleTime: how long from now."),
    *_OWN_CONTENTS,
    Field("labels", TEXTS, "Up to 16 keys and values to find it by.", LABELS),
    required=("payload", "callback"),
    is_closed=True,
    also={"oneOf": [_with("scheduleTime", "delaySeconds"), _with("delaySeconds", "scheduleTime")]},
)
SCHEDULE_PATCH = Shape(
    Field("scheduleTime", INSTANT, "Another fire time: epoch seconds, or an ISO 8601 instant with offset."),
    Field("delaySeconds", NUMBER, "Instead of scheduleTime: how long from now."),
    *_OWN_CONTENTS,
    Field("labels", TEXTS, "All that it is to have.", LABELS),
    is_closed=True,
    is_change=True,
    also={
        "anyOf": [
            {"properties": {"scheduleTime": {"type": "null"}}},
            {"properties": {"delaySeconds": {"type": "null"}}},
        ]
    },
)
_TIMES = (
    Field("cronExpression", TEXT, "Five fields, or `@daily` and the like; or else `interval`.", _CRON),
    Field("interval", OBJECT, "Every so many units from an instant.", _ref("Interval")),
    Field(
        "timeZone", TEXT, "IANA name of the zone whose wall time counts. Required, unless `CRON_TZ=` says it."
    ),
    Field("startTime", INSTANT, "No run before it."),
    Field("endTime", INSTANT, "No run at it or later."),
    Field("maxRuns", WHOLE, "No more runs than that.", _upto(MAX_COUNT)),
    Field(
        "dstGap",
        TEXT,
        "What becomes of a planned wall time that the clocks jump over. Left out: cron.",
        _one_of([each.value for each in DstGap]),
    ),
    Field(
        "dstOverlap",
        TEXT,
        "Which run is made for a planned wall time that comes twice. Left out: cron.",
        _one_of([each.value for each in DstOverlap]),
    ),
    Field(
        "exclusionCalendars",
        LIST,
        "Names of calendars of the app, on whose days nothing runs.",
        {"type": "array", "maxItems": MAX_CALENDARS, "items": text_of(NAME_PATTERN)},
    ),
    Field("windowMs", WHOLE, "How much later than planned a run may be sent.", _upto(MAX_WINDOW_MS)),
    Field(
        "windowShare",
        NUMBER,
        "The same as a share of the time to the next run.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    ),
    Field(
        "windowSpread",
        TEXT,
        "Where in the window: by a hash of the definition, or in the second in which least is due. Left out:"
        " hash.",
        _one_of([each.value for each in Spread]),
    ),
    Field("dialect", WHOLE, "The version of the rules by which all this is read.", _upto(DIALECT)),
)
_ONE_RULE: Mapping[str, object] = {
    "oneOf": [
        {
            "required": ["cronExpression"],
            "properties": {
                "cronExpression": {"type": "string", "minLength": 1},
                "interval": {"type": "null"},
            },
        },
        _with("interval", "cronExpression"),
    ]
}
INTERVAL = Shape(
    Field(
        "every",
        WHOLE,
        "How many units from one run to the next: a year's at most, or 120 months.",
        _upto(max(MOST_EVERY.values())),
        nullable=False,
    ),
    Field(
        "unit",
        TEXT,
        "Elapsed time up to hours; wall time from days on.",
        _one_of([each.value for each in Unit]),
        nullable=False,
    ),
    Field("anchorTime", INSTANT, "The first of the times. Left out: startTime."),
    required=("every", "unit"),
    is_closed=True,
)
MISFIRES = [each.lower() for each in (Misfire.ONCE, Misfire.SKIP, Misfire.ALL)]  #: the first is the default
OVERLAPS = [each.lower() for each in (Overlap.ALLOW, Overlap.SKIP, Overlap.BUFFER_ONE)]
ENDS = [KEEP, DELETE]
_POLICIES = (
    Field(
        COMPLETION,
        WHOLE,
        "A receiver that answers 202 works on: it says that it is done by a call of the URL in the header"
        " `Ringtime-Completion-Url`, and has so long for it. Left out: its answer is the end.",
        _upto(MAX_TIMEOUT_S),
    ),
    Field(
        "misfirePolicy",
        TEXT,
        "Which runs are made that came due while nothing could be sent: the last one, none, or the last"
        " `misfireMost`. Left out: once.",
        _one_of(MISFIRES),
    ),
    Field("misfireMost", WHOLE, "How many, of `all`. Left out: 1.", _upto(MAX_MISFIRES)),
    Field(
        "misfireAgeSeconds",
        WHOLE,
        "Runs later than this are not made up for.",
        _upto(MAX_MISFIRE_AGE_MS // 1_000),
    ),
    Field(
        "overlapPolicy",
        TEXT,
        "What becomes of a run that is due before the one before has ended: it is made all the same, or"
        " missed, or one waits. Left out: allow.",
        _one_of(OVERLAPS),
    ),
    Field("atEnd", TEXT, "What becomes of it after its last run. Left out: keep.", _one_of(ENDS)),
)
COMPLETED = Shape(
    Field("status", TEXT, "How the work ended. Left out: success.", _one_of(ENDINGS)),
    Field(
        "errorMessage",
        TEXT,
        "Why it failed.",
        {"type": "string", "maxLength": MAX_ERROR_CHARS},
    ),
    is_closed=True,
)
NEW_RECURRING = Shape(
    *_TIMES,
    *_OWN_CONTENTS,
    *_POLICIES,
    required=("payload", "callback"),
    is_closed=True,
    also=_ONE_RULE,
)
RECURRING_PATCH = Shape(*_TIMES, *_OWN_CONTENTS, *_POLICIES, is_closed=True, is_change=True)
PREVIEW = Shape(
    *_TIMES,
    Field("size", WHOLE, f"How many runs. Left out: {PREVIEW_SIZE}.", _upto(MAX_PREVIEW)),
    is_closed=True,
    also=_ONE_RULE,
)
CALENDAR = Shape(
    Field(
        "dates",
        LIST,
        "Days of the wall clock, as `2026-12-25`.",
        {"type": "array", "maxItems": MAX_DAYS, "items": {"type": "string", "format": "date"}},
    ),
    Field(
        "spans",
        LIST,
        "Times.",
        {
            "type": "array",
            "maxItems": MAX_SPANS,
            "items": {
                "type": "object",
                "properties": {"startTime": INSTANT.schema, "endTime": INSTANT.schema},
                "required": ["startTime", "endTime"],
            },
        },
    ),
    Field(
        "ics",
        TEXT,
        "The text of an ICS file: its whole days and times.",
        {"type": "string", "maxLength": MAX_ICS_CHARS},
    ),
    is_closed=True,
    also={
        "anyOf": [
            {"required": [name], "properties": {name: {"type": kind}}}
            for name, kind in (("dates", "array"), ("spans", "array"), ("ics", "string"))
        ]
    },
)
PAUSE = Shape(
    Field("reason", TEXT, "Why, for people.", {"type": "string", "maxLength": MAX_REASON_CHARS}),
    Field("until", INSTANT, "When it makes runs again. Left out: when it is resumed."),
    is_closed=True,
)
BACKFILL = Shape(
    Field("from", INSTANT, "The nominal times from here on; not before 2020."),
    Field("to", INSTANT, "Those before this; not later than now."),
    Field("dryRun", FLAG, "Say what would be filed, and file nothing. Left out: false."),
    Field("max", WHOLE, f"Most nominal times to look at. Left out: {BACKFILL_SIZE}.", _upto(MAX_BACKFILL)),
    required=("from", "to"),
    is_closed=True,
)
ADVANCE = Shape(
    Field(
        "seconds", NUMBER, "How long is to go by.", {"type": "number", "minimum": 0, "maximum": 31_622_400}
    ),
    Field(
        "limitSeconds",
        NUMBER,
        "Real time that it may take. Left out: 60.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 3_600},
    ),
    required=("seconds",),
    is_closed=True,
)
NEW_SCHEDULES = Shape(
    Field(
        "schedules",
        LIST,
        "What one create sends, of any apps.",
        {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": _ref("NewSchedule")},
    ),
    required=("schedules",),
    is_closed=True,
)
_THEIR_ID = Field(
    "scheduleId",
    TEXT,
    "The id that it has in the scheduler that it comes from, by which it is found here from then on. None of"
    " the form that is given out here.",
    SCHEDULE_ID,
)
IMPORTED = Shape(
    *(field for field in NEW_SCHEDULE.fields if field.name not in ("cronExpression", "scheduleId")),
    _THEIR_ID,
    required=("appId", "scheduleId", "payload", "callback"),
    also={"oneOf": [_once("scheduleTime", "delaySeconds"), _once("delaySeconds", "scheduleTime")]},
)
IMPORTED_RECURRING = Shape(
    Field("appId", TEXT, "A registered, active app.", APP_ID),
    _THEIR_ID,
    *NEW_RECURRING.fields,
    required=("appId", "scheduleId", "payload", "callback"),
    is_closed=True,
    also=_ONE_RULE,
)
IMPORTS = Shape(
    Field(
        "schedules",
        LIST,
        "Of any apps: each what one create sends, or what is put as a recurring schedule with its `appId`;"
        " and its `scheduleId` in the scheduler that it comes from. It may be past: it is sent at once then.",
        {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_ITEMS,
            "items": {"anyOf": [_ref("Imported"), _ref("ImportedRecurring")]},
        },
    ),
    required=("schedules",),
    is_closed=True,
)
CANCELS = Shape(
    Field(
        "scheduleIds",
        LIST,
        "Of any apps.",
        {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": SCHEDULE_ID},
    ),
    required=("scheduleIds",),
    is_closed=True,
)
