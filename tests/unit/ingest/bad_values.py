"""Wrong types, times, ids, apps and paths (classes 31 to 77, 133 and 164 to 166 of the test plan)."""

from __future__ import annotations

from tests.unit.ingest.cases import APPS, SCHEDULES, Case, app, create, raw
from tests.unit.ingest.rig import NOW_S, dumps, http_callback, schedule_body

MONTH_S = 30 * 86_400
UNKNOWN = "0cee7d94-9800-8004-8000-00000100ffff"


def _time(name: str, value: object, code: int = 400) -> Case:
    return create(name, "scheduleTime", code, scheduleTime=value)


def _no_time(name: str, text: str) -> Case:
    """A text that is no instant is of the wrong type, as any text is to goscheduler."""
    return _time(name, text, 5001)


def _get(name: str, target: str, field: str = "", status: int = 400, method: str = "GET") -> Case:
    return Case(name, b"", field, method, target, status)


TYPES = [
    _time("31 true as time", True, 5001),
    create("31 true as delay", "delaySeconds", 5001, scheduleTime=..., delaySeconds=True),
    app("31 true as partitions", "partitions", 5001, partitions=True),
    app("32 text as partitions", "partitions", 5001, partitions="5"),
    create("32 text as delay", "delaySeconds", 5001, scheduleTime=..., delaySeconds="5"),
    _no_time("32 text as time", str(NOW_S + 60)),
    app("32 text as active", "active", 5001, active="true"),
    app("32 1 as active", "active", 5001, active=1),
    app("33 5.0 partitions", "partitions", 5001, partitions=5.0),
    app("33 1.5 partitions", "partitions", 5001, partitions=1.5),
    app("33 1e1 bytes", "configuration.payloadSize", 5001, configuration={"payloadSize": 1e1}),
    raw("34 -0", "scheduleTime", "-0"),
    raw("34 -0.0", "scheduleTime", "-0.0"),
    raw("34 -0.0001", "scheduleTime", "-0.0001"),
    raw("35 2^53 + 1", "scheduleTime", str(2**53 + 1)),
    app("35 2^53 + 1 partitions", "partitions", partitions=2**53 + 1),
    raw("36 2^63", "scheduleTime", str(2**63)),
    app("36 2^64 ms", "configuration.httpTimeout", configuration={"httpTimeout": 2**64}),
    create("36 2^70 in the details", "callback.details.n", 5001, callback=http_callback(n=2**70)),
    raw(
        "36 1e400 in the details",
        "callback",
        '{"type":"http","details":{"url":"http://a","method":"GET","n":1e400}}',
        "callback.details.n",
        5001,
    ),
    create("37 null app", "appId", appId=None),
    create("37 null payload", "payload", payload=None),
    create("37 null time", "scheduleTime", scheduleTime=None),
    create("37 null callback", "callback", 5001, callback=None),
    create("37 null type", "callback.type", 5001, callback=http_callback() | {"type": None}),
    create("37 null details", "callback.details", callback={"type": "http", "details": None}),
    create("37 no details", "callback.details", callback={"type": "http"}),
    create("38 list as callback", "callback", 5001, callback=[]),
    create("38 list as details", "callback.details", 5001, callback={"type": "http", "details": []}),
    create("38 text as callback", "callback", 5001, callback="http"),
    create("38 object as payload", "payload", 5001, payload={}),
    app("38 list as configuration", "configuration", 5001, configuration=[]),
    create("39 empty app", "appId", appId=""),
    create("39 empty type", "callback.type", 5001, callback=http_callback() | {"type": ""}),
    _no_time("39 empty time", ""),
    create("40 blank app", "appId", appId="  "),
    _no_time("40 blank time", "  "),
    create("40 blank type", "callback.type", 5001, callback=http_callback() | {"type": " "}),
    _no_time("41 full-width digits", "２０２７-01-15T09:00:00Z"),
    raw("41 full-width number", "scheduleTime", "１８００００００６０", "body", 5001),
    raw("42 underscore", "scheduleTime", "1_800_000_060", "body", 5001),
    raw("43 leading zero", "scheduleTime", "01800000060", "body", 5001),
    raw("43 plus sign", "scheduleTime", "+1800000060", "body", 5001),
    raw("43 hexadecimal", "scheduleTime", "0x6b49d23c", "body", 5001),
]

TIMES = [
    create("44 missing", "scheduleTime", scheduleTime=...),
    create("44 both", "scheduleTime", delaySeconds=5),
    _no_time("45 naive", "2027-01-15T09:00:00"),
    _no_time("45 date alone", "2027-01-15"),
    _no_time("45 short offset", "2027-01-15T09:00:00+01"),
    _no_time("46 week", "2027-W02-5T09:00:00Z"),
    _no_time("46 ordinal", "2027-015T09:00:00Z"),
    _no_time("46 basic form", "20270115T090000Z"),
    _no_time("47 second 60", "2027-01-15T08:59:60Z"),
    _no_time("47 minute 60", "2027-01-15T08:60:00Z"),
    _no_time("48 24:00", "2027-01-15T24:00:00Z"),
    _no_time("49 30 February", "2027-02-30T09:00:00Z"),
    _no_time("49 29 February", "2027-02-29T09:00:00Z"),
    _no_time("49 month 13", "2027-13-01T09:00:00Z"),
    _no_time("50 +25:00", "2027-01-15T09:00:00+25:00"),
    _no_time("50 +01:60", "2027-01-15T09:00:00+01:60"),
    _no_time("50 +24:00", "2027-01-15T09:00:00-24:00"),
    _no_time("51 year 0", "0000-01-15T09:00:00Z"),
    _time("51 year 1", "0001-01-01T00:00:00+23:59"),
    _time("51 year 9999", "9999-12-31T23:59:59-23:59"),
    _no_time("51 year 10000", "10000-01-15T09:00:00Z"),
    _time("52 before 1970", -1),
    _time("52 long before 1970", -(2**40)),
    create("52 negative delay", "delaySeconds", scheduleTime=..., delaySeconds=-0.001),
    _time("53 milliseconds", (NOW_S + 60) * 1_000),
    _time("53 microseconds", (NOW_S + 60) * 1_000_000),
    raw("53 milliseconds with a fraction", "scheduleTime", f"{NOW_S}000.5"),
    _time("54 nanoseconds", (NOW_S + 60) * 10**9),
    _time("54 10^20", 10**20),
    _time("55 last second", NOW_S - 1),
    _time("55 -301 s", NOW_S - 301),
    _time("55 just before this second", NOW_S - 0.001),
    _time("55 zero", 0),
    _time("56 horizon and a second", NOW_S + MONTH_S + 1),
    _time("56 horizon and a millisecond", NOW_S + MONTH_S + 0.251),
    create("56 delay past the horizon", "delaySeconds", scheduleTime=..., delaySeconds=MONTH_S + 1),
    create("56 endless delay", "delaySeconds", scheduleTime=..., delaySeconds=10**18),
    _no_time("57 NaN as text", "NaN"),
    _time("58 year 2300", "2300-01-01T00:00:00Z"),
    _no_time("60 zone name", "2027-01-15T09:00:00[Europe/Paris]"),
    _no_time("61 zone path", "2027-01-15T09:00:00[../../etc/passwd]"),
    _no_time("62 lower-case z", "2027-01-15T09:00:00z"),
    _no_time("62 lower-case t", "2027-01-15t09:00:00Z"),
    _no_time("62 space", "2027-01-15 09:00:00Z"),
    _no_time("63 ten digits of a fraction", "2027-01-15T09:00:00.0123456789Z"),
    _no_time("63 no digits of a fraction", "2027-01-15T09:00:00.Z"),
    _no_time("63 comma", "2027-01-15T09:00:00,5Z"),
    _no_time("63 line feed after", "2027-01-15T09:00:00Z\n"),
]

_BAD_IDS = {
    "64 traversal": "../../etc/passwd",
    "66 256 characters": "a" * 256,
    "66 129 characters": "a" * 129,
    "67 emoji": "app😀",
    "67 right-to-left mark": "app\u200f",
    "67 zero width": "te\u200bst",
    "68 composed": "caf\u00e9",
    "68 decomposed": "cafe\u0301",
    "70 dot": "test.1",
    "70 dots": "..",
    "71 semicolon": "test;drop",
    "71 quote": "test'--",
    "71 double quote": 'te"st',
    "75 leading dash": "-test",
    "75 leading underscore": "_test",
    "75 line feed after": "test\n",
}

IDS = [
    *(create(f"{name} in a create", "appId", appId=value) for name, value in _BAD_IDS.items()),
    *(app(f"{name} in a registration", "appId", appId=value) for name, value in _BAD_IDS.items()),
    create("69 another case", "appId", 4001, appId="Test"),
    create("73 unknown app", "appId", 4001, appId="gone"),
    create("74 inactive app", "appId", 4002, appId="idle"),
    app("75 goscheduler's app of limits", "appId", appId="maxConfig"),
    app("app id missing", "appId", appId=...),
    app("quota would change", "", 409, appId="test", partitions=9)._replace(status=409),
    app("partitions below 0", "partitions", 5001, partitions=-1),
    app("too many partitions", "partitions", partitions=4_097),
    app(
        "horizon too far",
        "configuration.futureScheduleCreationPeriod",
        configuration={"futureScheduleCreationPeriod": 3_661},
    ),
    app(
        "kept too long",
        "configuration.firedScheduleRetentionPeriod",
        configuration={"firedScheduleRetentionPeriod": 367},
    ),
    app("payload too large", "configuration.payloadSize", configuration={"payloadSize": 32_769}),
    app("too many attempts", "configuration.httpRetries", configuration={"httpRetries": 11}),
    app("timeout too long", "configuration.httpTimeout", configuration={"httpTimeout": 60_001}),
    app("negative timeout", "configuration.httpTimeout", configuration={"httpTimeout": -1}),
    create("76 own id is no UUID", "scheduleId", 5001, scheduleId="seven"),
    _get("64 traversal in a path", f"{SCHEDULES}/..%2f..%2fetc", status=404),
    _get("65 %2e%2e", f"{SCHEDULES}/%2e%2e", "scheduleId"),
    _get("65 NUL", f"{SCHEDULES}/%00", "scheduleId"),
    _get("76 word", f"{SCHEDULES}/seven", "scheduleId"),
    _get("76 one digit short", f"{SCHEDULES}/{UNKNOWN[:-1]}", "scheduleId"),
    _get("76 no dashes", f"{SCHEDULES}/{UNKNOWN.replace('-', '')}", "scheduleId"),
    _get("76 line feed after", f"{SCHEDULES}/{UNKNOWN}%0a", "scheduleId"),
    _get("76 to be cancelled", f"{SCHEDULES}/seven", "scheduleId", method="DELETE"),
    _get("77 braces", f"{SCHEDULES}/%7B{UNKNOWN}%7D", "scheduleId"),
    _get("77 urn", f"{SCHEDULES}/urn:uuid:{UNKNOWN}", "scheduleId"),
    _get("77 upper case, unknown", f"{SCHEDULES}/{UNKNOWN.upper()}", "scheduleId", 404),
    _get("unknown", f"{SCHEDULES}/{UNKNOWN}", "scheduleId", 404),
    _get("unknown, to be cancelled", f"{SCHEDULES}/{UNKNOWN}", "scheduleId", 404, "DELETE"),
    _get("id of goscheduler", f"{SCHEDULES}/a675115c-0a0e-11ee-bebb-acde48001122", "scheduleId", 404),
    _get("nil id", "/goscheduler/schedule/00000000-0000-0000-0000-000000000000", "scheduleId", 404),
    _get("unknown app in a list", f"{APPS}?app_id=gone", "app_id", 404),
    _get("bad app in a list", f"{APPS}?app_id=%00", "appId"),
    _get("activate an unknown app", f"{APPS}/gone/activate", "appId", method="POST"),
    _get("activate an active app", f"{APPS}/test/activate", "appId", method="POST"),
    _get("deactivate an inactive app", f"{APPS}/idle/deactivate", "appId", method="POST"),
    _get("activate a bad app", f"{APPS}/%2e%2e/activate", "appId", method="POST"),
]

PATHS = [
    create("133 payload of 1,025 bytes", "payload", payload="x" * 1_025),
    create("133 payload of 1,026 bytes in 513 letters", "payload", payload="é" * 513),
    create("133 payload of 32,769 bytes", "payload", payload="x" * 32_769),
    create("payload missing", "payload", payload=...),
    create("callback missing", "callback", callback=...),
    Case(
        "legacy httpCallback",
        dumps(schedule_body(callback=...) | {"httpCallback": {"url": "http://a"}}),
        "callback",
    ),
    create("unknown callback type", "callback.type", 5001, callback=http_callback() | {"type": "airbus"}),
    create(
        "callback type in another case", "callback.type", 5001, callback=http_callback() | {"type": "HTTP"}
    ),
    create("cron", "cronExpression", scheduleTime=..., cronExpression="*/0 * * * *"),
    create("cron beside a time", "cronExpression", cronExpression="@reboot"),
    _get("164 PUT", SCHEDULES, status=405, method="PUT"),
    _get("164 PUT of one", f"{SCHEDULES}/{UNKNOWN}", status=405, method="PUT"),
    _get("164 GET of what takes a POST", f"{APPS}/test/activate", status=405),
    _get("164 lower-case method", SCHEDULES, status=405, method="post"),
    _get("165 unknown path", "/goscheduler/nothing", status=404),
    _get("165 another case", "/goscheduler/Schedules", status=404),
    _get("165 no such list of an app", f"{APPS}/test/schedule", status=404),
    _get("166 double slash", "//goscheduler/apps", status=404),
    _get("166 double slash inside", "/goscheduler//apps", status=404),
    _get("166 encoded slash", f"{SCHEDULES}/a%2fb", status=404),
]
