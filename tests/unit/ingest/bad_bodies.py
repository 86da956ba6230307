"""Bodies that are no JSON object, or hardly (classes 1 to 30 of the test plan)."""

from __future__ import annotations

import gzip

from tests.unit.ingest.cases import Case, raw
from tests.unit.ingest.rig import dumps, schedule_body

GOOD = dumps(schedule_body())


def _body(name: str, body: bytes, field: str = "body", status: int = 400, code: int = 5001) -> Case:
    return Case(name, body, field, status=status, code=code)


def _sent_as(name: str, body: bytes, field: str, *headers: tuple[str, str]) -> Case:
    return Case(name, body, field, code=5001, headers=headers)


def _with_key(text: str) -> bytes:
    return GOOD[:-1] + b"," + text.encode() + b"}"


def _nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return _with_key('"deep":' + opening * depth + closing * depth)


CASES = [
    _body("1 empty", b""),
    _body("1 white space", b" \n\t"),
    _body("2 word", b"hello"),
    _body("2 form", b"appId=test&payload=x"),
    _body("2 xml", b"<schedule/>"),
    _body("2 yaml", b"appId: test"),
    _body("3 array", b"[]"),
    _body("3 array of one", b"[" + GOOD + b"]"),
    _body("3 string", b'"x"'),
    _body("3 number", b"7"),
    _body("3 null", b"null"),
    _body("3 true", b"true"),
    _body("4 truncated", GOOD[:-1]),
    _body("4 truncated in a string", GOOD[:20]),
    _body("4 lone brace", b"{"),
    _body("5 trailing garbage", GOOD + b"x"),
    _body("5 trailing NUL", GOOD + b"\0"),
    _body("5 trailing brace", GOOD + b"}"),
    _body("6 two documents", GOOD + GOOD),
    _body("6 two lines", GOOD + b"\n" + GOOD),
    _body("6 with a comma", GOOD + b"," + GOOD),
    _body("7 key twice", _with_key('"appId":"test"'), "appId"),
    _body("7 key in two cases", _with_key('"APPID":"test"'), "APPID"),
    _body("7 unknown key twice", _with_key('"x":1,"x":1'), "x"),
    _body("7 empty key twice", _with_key('"":1,"":1')),
    _body("7 inner key twice", b'{"callback":{"type":"http","type":"http"}}', "type"),
    raw("8 NaN", "scheduleTime", "NaN", "body", 5001),
    raw("8 -Infinity", "scheduleTime", "-Infinity", "body", 5001),
    _body("8 NaN under an unknown key", _with_key('"x":NaN')),
    raw("9 Infinity", "scheduleTime", "Infinity", "body", 5001),
    raw("9 1e400", "scheduleTime", "1e400"),
    raw("9 1e999999999", "scheduleTime", "1e999999999"),
    raw("9 exponent of twenty digits", "delaySeconds", "1e99999999999999999999"),
    _body("10 depth 33", _nested(32)),
    _body("10 depth 33 of objects", _with_key('"x":' + '{"a":' * 32 + "1" + "}" * 32)),
    _body("10 depth 20,000", _nested(20_000)),
    _body("10 open brackets only", b"[" * 60_000),
    _body("10 quotes and brackets", b'"[' * 30_000),
    raw("11 5,000 digits", "scheduleTime", "9" * 5_000, "body", 5001),
    raw("11 4,000 digits", "scheduleTime", "9" * 4_000),
    _body("11 5,000 digits under an unknown key", _with_key('"x":' + "1" * 5_000)),
    raw("12 lone high surrogate", "payload", r'"\ud800"', code=5001),
    raw("12 lone low surrogate", "appId", r'"\udfff"', code=5001),
    raw("12 surrogates reversed", "payload", r'"\udc00\ud800"', code=5001),
    _body("12 surrogate in a key", _with_key(r'"\ud800":1'), r"\ud800"),
    raw("13 NUL in the app id", "appId", r'"te\u0000st"'),
    _body("13 raw NUL", GOOD.replace(b"test", b"te\0st")),
    _body("13 NUL between", b"\0" + GOOD),
    _body("14 lone byte", GOOD.replace(b"test", b"te\xffst")),
    _body("14 over-long", GOOD.replace(b"test", b"te\xc0\xafst")),
    _body("14 surrogate in bytes", GOOD.replace(b"test", b"te\xed\xa0\x80st")),
    _body("15 UTF-16", GOOD.decode().encode("utf-16")),
    _body("15 UTF-16 little endian", GOOD.decode().encode("utf-16-le")),
    _body("15 UTF-32", GOOD.decode().encode("utf-32")),
    _body("16 byte order mark", b"\xef\xbb\xbf" + GOOD),
    _body("17 one byte too many", GOOD + b" " * (262_145 - len(GOOD)), status=413, code=413),
    _sent_as("22 latin-1", GOOD, "Content-Type", ("Content-Type", "application/json; charset=latin-1")),
    _sent_as("22 utf-16", GOOD, "Content-Type", ("Content-Type", 'application/json; charset="UTF-16"')),
    _sent_as("23 gzip", gzip.compress(GOOD), "Content-Encoding", ("Content-Encoding", "gzip")),
    _sent_as(
        "24 gzip bomb", gzip.compress(bytes(10**6)) * 10, "Content-Encoding", ("Content-Encoding", "gzip")
    ),
    _body("24 gzip unannounced", gzip.compress(GOOD)),
    _body(
        "26 many keys", b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}", status=413, code=413
    ),
    _body("29 comment", b"/* a */" + GOOD),
    _body("29 line comment", GOOD[:-1] + b"// b\n}"),
    _body("29 single quotes", GOOD.replace(b'"', b"'")),
    _body("29 trailing comma", GOOD[:-1] + b",}"),
    _body("29 bare key", b"{appId:1}"),
    _body("30 line feed in a key", _with_key('"a\nb":1')),
    _body("30 escape character in a key", _with_key('"a\x1bb":1')),
    _body("30 NUL in a key", _with_key('"a\0b":1')),
]
