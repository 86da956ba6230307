"""Which parts of a payload are hidden from whoever looks at it."""

from __future__ import annotations

from hashlib import sha256

import orjson
import pytest

from ringtime_shared.apps.redaction import path_fault, plain_fingerprint, redact


def mark(value: bytes) -> str:
    return f"<{value.decode()}>"


@pytest.mark.parametrize(
    ("paths", "payload", "shown"),
    [
        (["a"], '{"a": 1, "b": 2}', '{"a":"REDACTED:<1>","b":2}'),
        (["a"], '{"b": {"a": 1}}', '{"b":{"a":1}}'),
        (["card.number"], '{"card": {"number": "4111"}}', '{"card":{"number":"REDACTED:<"4111">"}}'),
        (["card"], '{"card": {"b": 1, "a": 2}}', '{"card":"REDACTED:<{"a":2,"b":1}>"}'),
        (["card", "card.number"], '{"card": {"number": 1}}', '{"card":"REDACTED:<{"number":1}>"}'),
        (["items.*.price"], '{"items": [{"price": 1}, {"x": 1}, 7]}', None),
        (["items.1"], '{"items": [1, 2]}', '{"items":[1,"REDACTED:<2>"]}'),
        (["*"], '{"a": null}', '{"a":"REDACTED:<null>"}'),
        (["*.*"], '[[1], {"a": 2}]', '[["REDACTED:<1>"],{"a":"REDACTED:<2>"}]'),
        (["a"], "no JSON", "REDACTED:<no JSON>"),
        (["a"], '{"a": "hal', 'REDACTED:<{"a": "hal>'),
        (["a"], "", ""),
        ([], '{"a": 1}', '{"a": 1}'),
    ],
)
def test_what_is_hidden(paths: list[str], payload: str, shown: str | None) -> None:
    found = redact(payload, paths, mark)
    if shown is None:
        shown = '{"items":[{"price":"REDACTED:<1>"},{"x":1},7]}'
    assert found.replace('\\"', '"') == shown


def test_a_payload_nested_too_deep_is_hidden_as_a_whole() -> None:
    assert redact("[" * 5_000 + "]" * 5_000, ["a"], lambda _: "x") == "REDACTED:x"


def test_without_a_ring_the_digits_are_those_of_a_plain_hash() -> None:
    shown = orjson.loads(redact('{"name": "Ana"}', ["name"], plain_fingerprint))
    digits = sha256(b'"Ana"').hexdigest()[:12]
    assert shown == {"name": f"REDACTED:{digits}"}


@pytest.mark.parametrize("path", ["a", "a.b", "*", "a.*.0", "größe", "a b"])
def test_paths_that_are_taken(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\n", "x" * 257])
def test_paths_that_are_refused(path: str) -> None:
    assert path_fault(path) is not None
