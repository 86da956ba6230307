"""Idempotency keys, targets, Kafka, retry policies, cron expressions and lists that must be refused (classes
78 to 84, 97 to 118, 134 to 152, 173 and 174 of the test plan), by an application that judges where callbacks
lead."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from tests.unit.ingest.cases import APPS, SCHEDULES, Case, app, create, headers, raw, url
from tests.unit.ingest.rig import NOW_S, dumps, http_callback, schedule_body

NAMED = f"{APPS}/test/recurring/nightly"
LISTED = f"{APPS}/test/schedules"
#: what the names in the URLs below are said to mean
NAMES: Mapping[str, tuple[str, ...]] = {
    "inside.example": ("10.0.0.1",),
    "cloud.example": ("169.254.169.254",),
    "six.example": ("fd00::1",),
    "mixed.example": ("1.1.1.1", "127.0.0.1"),
    "turned.example": ("192.168.1.1", "1.1.1.1"),
    "both.example": ("2606:4700:4700::1111", "::1"),
}


def _keyed(name: str, *keys: str, **changes: object) -> Case:
    """Return a create with these headers."""
    sent = tuple(("Idempotency-Key", key) for key in keys)
    return Case(name, dumps(schedule_body(**changes)), "idempotencyKey", headers=sent)


def _kafka(name: str, field: str, code: int = 400, **details: object) -> Case:
    callback = {"type": "kafka", "details": {"topic": "test.events", **details}}
    return create(name, f"callback.details.{field}", code, callback=callback)


def _retry(name: str, field: str, code: int = 400, **policy: object) -> Case:
    return create(name, f"retryPolicy.{field}", code, retryPolicy=policy)


def _raw_retry(name: str, text: str, field: str, code: int) -> Case:
    return raw(name, "retryPolicy", text, field, code)


def _cron(name: str, expression: str) -> Case:
    """Return a definition of this expression."""
    body: dict[str, Any] = {"cronExpression": expression, "timeZone": "UTC", "payload": "{}"}
    return Case(
        name, dumps(body | {"callback": http_callback()}), "cronExpression", method="PUT", target=NAMED
    )


def _list(name: str, query: str, field: str) -> Case:
    return Case(name, b"", field, method="GET", target=f"{LISTED}?{query}")


def _urls(number: int, *hosts: str) -> list[Case]:
    return [url(f"{number} {host}", f"http://{host}/") for host in hosts]


IDEMPOTENCY = [
    _keyed("78 empty header", ""),
    _keyed("78 blank header", " "),
    create("78 blank field", "idempotencyKey", idempotencyKey="  "),
    _keyed("79 256 characters", "x" * 256),
    create("79 256 characters in the field", "idempotencyKey", idempotencyKey="x" * 256),
    create("79 10,000 characters", "idempotencyKey", idempotencyKey="x" * 10_000),
    _keyed("80 umlaut in the header", "schl\u00fcssel"),
    create("80 umlaut in the field", "idempotencyKey", idempotencyKey="schl\u00fcssel"),
    create("80 emoji", "idempotencyKey", idempotencyKey="\U0001f600"),
    create("80 zero width", "idempotencyKey", idempotencyKey="a\u200bb"),
    _keyed("84 two headers", "k1", "k2"),
    _keyed("84 the same header twice", "k1", "k1"),
    _keyed("84 header and another field", "k1", idempotencyKey="k2"),
]

TARGETS = [
    *_urls(97, "127.0.0.1", "127.255.255.254", "127.0.0.1:8080"),
    *_urls(98, "127.0.1", "127.1:80", "127.65535"),
    *_urls(100, "0.0.0.0", "0.0.0.0:80", "0.1.2.3"),
    *_urls(101, "[::1]", "[::]", "[0:0:0:0:0:0:0:1]"),
    *_urls(102, "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]"),
    *_urls(103, "[::127.0.0.1]", "[::7f00:1]", "[::a9fe:a9fe]"),
    *_urls(104, "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]"),
    *_urls(105, "[2002:a9fe:a9fe::]", "[2002:7f00:1::1]", "[2002:a00:1::]"),
    *_urls(106, "[2001::1]", "[2001::7f00:1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]"),
    *_urls(107, "[fe80::1]", "[febf::1]", "[fe80::a9fe:a9fe]"),
    *_urls(108, "[fd00:ec2::254]", "[fd20:ce::254]", "[fc00::1]"),
    *_urls(109, "169.254.169.254", "169.254.170.2", "169.254.0.1"),
    *_urls(110, "168.63.129.16", "168.63.129.16:80", "[::ffff:168.63.129.16]"),
    *_urls(111, "100.100.100.200", "100.64.0.1", "100.127.255.255"),
    *_urls(112, "metadata.google.internal", "METADATA.Google.Internal", "metadata"),
    *_urls(113, "inside.example", "cloud.example", "six.example"),
    *_urls(114, "mixed.example", "turned.example", "both.example"),
    *_urls(116, *(f"{'a.' * 127}{tail}" for tail in ("com", "example", "org"))),
    *_urls(118, "localhost:8080", "[::1]:8080", "0.0.0.0:8080"),
]

KAFKA = [
    create("134 one character", "payload", payload="Y", payloadEncoding="base64"),
    create("134 no padding", "payload", payload="YQ", payloadEncoding="base64"),
    create("134 too much padding", "payload", payload="YQ===", payloadEncoding="base64"),
    create("134 line feed", "payload", payload="YWFh\nYWFh", payloadEncoding="base64"),
    create("134 of URLs", "payload", payload="_-8=", payloadEncoding="base64"),
    create("134 unknown encoding", "payloadEncoding", payload="YQ==", payloadEncoding="base32"),
    _kafka("135 space", "topic", topic="test.a b"),
    _kafka("135 slash", "topic", topic="test./etc"),
    _kafka("135 250 characters", "topic", topic="test." + "a" * 245),
    _kafka("135 dot", "topic", topic="."),
    _kafka("135 dots", "topic", topic=".."),
    _kafka("136 offsets", "topic", topic="__consumer_offsets"),
    _kafka("136 transactions", "topic", topic="__transaction_state"),
    _kafka("136 of the app", "topic", topic="__test.x"),
    _kafka("137 another app's", "topic", topic="other.events"),
    _kafka("137 another case", "topic", topic="Test.events"),
    _kafka("137 a prefix of it", "topic", topic="tes.events"),
    _kafka("138 -1", "partition", partition=-1),
    _kafka("138 2^31", "partition", partition=2**31),
    _kafka("138 true", "partition", 5001, partition=True),
    _kafka("138 text", "partition", 5001, partition="1"),
    _kafka("139 1,025 bytes", "key", key="k" * 1_025),
    _kafka("139 1,026 bytes in 513 letters", "key", key="\u00e9" * 513),
    _kafka("139 empty", "key", key=""),
    _kafka("140 null topic", "topic", topic=None),
    _kafka("140 null in a header", "headers.A", 5001, headers={"A": None}),
    create("140 null payload", "payload", callback={"type": "kafka", "details": {}}, payload=None),
]

RETRIES = [
    _retry("141 -1 attempts", "attempts", attempts=-1),
    _retry("141 1e9 attempts", "attempts", attempts=10**9),
    _retry("141 4 of 3 attempts", "attempts", attempts=4),
    _retry("141 true attempts", "attempts", 5001, attempts=True),
    _retry("142 negative wait", "firstDelayMs", firstDelayMs=-1),
    _retry("142 wait past its bound", "firstDelayMs", firstDelayMs=5_000, maxDelayMs=1_000),
    _retry("142 endless wait", "maxDelayMs", maxDelayMs=10**12),
    _retry("142 shrinking waits", "factor", factor=0.5),
    _raw_retry("142 NaN", '{"factor":NaN}', "body", 5001),
    _retry("143 longer than it is kept", "maxAgeSeconds", maxAgeSeconds=11 * 86_400),
    _retry("143 negative age", "maxAgeSeconds", maxAgeSeconds=-1),
    _retry("143 endless age", "maxAgeSeconds", maxAgeSeconds=2**62),
    create("144 no time", "timeoutMs", timeoutMs=0),
    create("144 negative time", "timeoutMs", timeoutMs=-1),
    create("144 an hour", "timeoutMs", timeoutMs=3_600_000),
]

CRONS = [
    _cron("145 empty", ""),
    _cron("145 blank", "  "),
    _cron("145 tabs", "\t\t"),
    _cron("146 six fields", "0 * * * * *"),
    _cron("146 seven fields", "0 0 0 1 1 ? 2026"),
    _cron("146 four fields", "* * * *"),
    _cron("148 30 February", "0 0 30 2 *"),
    _cron("148 31st of short months", "0 0 31 2,4,6,9,11 *"),
    _cron("148 no such weekday", "0 0 */20 * 1L"),
    _cron("149 minutes", "30-10 * * * *"),
    _cron("149 weekdays", "* * * * FRI-MON"),
    _cron("149 hours", "* 5-2 * * *"),
    _cron("150 of all", "*/0 * * * *"),
    _cron("150 of one", "* 5/0 * * *"),
    _cron("150 of a range", "* * 1-9/000 * *"),
    _cron("151 reboot", "@reboot"),
    _cron("151 every", "@every 5m"),
    _cron("151 unknown", "@fortnightly"),
    _cron("152 stars", "*" * 10_240),
    _cron("152 commas", "1," * 5_120 + "1 * * * *"),
    _cron("152 ranges", "1-" * 5_120 + "1 * * * *"),
]

LISTS = [
    _list("173 forged token", "continuation_token=deadbeef", "continuation_token"),
    _list("173 token of As", f"continuation_token={'A' * 38}", "continuation_token"),
    _list("173 token with a dot", "continuation_token=a.b", "continuation_token"),
    _list("174 none", "size=0", "size"),
    _list("174 less than none", "size=-1", "size"),
    _list("174 1e9", "size=1000000000", "size"),
    _list("174 a fraction", "size=1.5", "size"),
]

_GOOD = dumps(schedule_body())
_BOM = b"\xef\xbb\xbf"


def _body(name: str, body: bytes, status: int = 400, code: int = 5001) -> Case:
    return Case(name, body, "body", status=status, code=code)


def _sent_as(name: str, field: str, value: str, body: bytes = _GOOD) -> Case:
    return Case(name, body, field, code=5001, headers=((field, value),))


def _text(name: str, time: object, code: int = 5001) -> Case:
    return create(name, "scheduleTime", code, scheduleTime=time)


MORE = [
    _body("1 line feeds", b"\r\n\r\n"),
    _body("16 alone", _BOM),
    _body("16 twice", _BOM + _BOM + _GOOD),
    _body("17 twice as long", _GOOD + b" " * 524_288, 413, 413),
    _body("17 a long payload", dumps(schedule_body(payload="x" * 262_144)), 413, 413),
    _sent_as("22 iso-8859-1", "Content-Type", "application/json; charset=iso-8859-1"),
    _sent_as("23 deflate", "Content-Encoding", "deflate", zlib.compress(_GOOD)),
    _sent_as("23 an encoding of its own", "Content-Encoding", "br"),
    _sent_as("24 deflate bomb", "Content-Encoding", "deflate", zlib.compress(bytes(10**7))),
    headers("26 10,000 headers", {f"X-{n}": "a" for n in range(10_000)}),
    create("26 10,000 labels", "labels", labels={f"k{n}": "a" for n in range(10_000)}),
    app("35 2^53 + 1 bytes", "configuration.payloadSize", configuration={"payloadSize": 2**53 + 1}),
    create("41 full-width delay", "delaySeconds", 5001, scheduleTime=..., delaySeconds="\uff15"),
    raw("42 underscore in a fraction", "scheduleTime", f"{NOW_S}.1_0", "body", 5001),
    app("42 text with an underscore", "partitions", 5001, partitions="1_0"),
    create("44 both null", "scheduleTime", scheduleTime=None, delaySeconds=None),
    _text("47 second 99", "2027-01-15T08:59:99Z"),
    _text("48 24:00:01", "2027-01-15T24:00:01Z"),
    _text("48 25:00", "2027-01-15T25:00:00Z"),
    raw("54 nanoseconds with a fraction", "scheduleTime", f"{NOW_S}000000000.5"),
    _text("57 nan", "nan"),
    _text("57 -NaN", "-NaN"),
    _text("58 year 2100", 4_102_444_800, 400),
    _text("58 year 3000", "3000-01-01T00:00:00Z", 400),
    _list("60 nowhere", "zone=Nowhere/Else", "zone"),
    _list("60 a continent", "zone=Europe", "zone"),
    _list("61 up", "zone=../../etc/passwd", "zone"),
    _list("61 from the root", "zone=%2Fetc%2Fpasswd", "zone"),
    Case("65 control character", b"", "scheduleId", "GET", f"{SCHEDULES}/%01"),
    create("69 capitals", "appId", 4001, appId="TEST"),
    create("69 one capital", "appId", 4001, appId="tesT"),
    create("73 never there", "appId", 4001, appId="never"),
    create("73 with a delay", "appId", 4001, appId="gone", scheduleTime=..., delaySeconds=5),
    create("74 with a delay", "appId", 4002, appId="idle", scheduleTime=..., delaySeconds=5),
    create("74 with a key", "appId", 4002, appId="idle", idempotencyKey="k"),
    url("88 after a query", "http://example.com/?a#b"),
    url("89 10,000 characters", "http://example.com/" + "a" * 10_000),
    url("89 a long query", "http://example.com/?" + "a" * 2_040),
    url("91 backslash in a path", "http://example.com/a\\b"),
    url("96 with a port", "http://example.com.:80/"),
    url("96 of a longer name", "http://a.b.example.com./"),
    headers("125 blank name", {" ": "a"}, " "),
    headers("125 tab for a name", {"\t": "a"}, r"\t"),
    headers("126 32 headers", {f"X-{n}": "a" for n in range(32)}),
    headers("126 1,000 headers", {f"X-{n}": "" for n in range(1_000)}),
    *(
        headers(f"131 {one} and {other}", {one: "1", other: "2"})._replace(field=other, code=5001)
        for one, other in (("X-A", "x-a"), ("accept", "ACCEPT"), ("X-b", "X-B"))
    ),
]

CASES = [*MORE, *IDEMPOTENCY, *TARGETS, *KAFKA, *RETRIES, *CRONS, *LISTS]
