"""Request bodies as JSON, and nothing that only nearly is.

`json.loads` takes NaN, duplicate keys, UTF-16, a byte order mark and lone surrogates, and recurses as deep
as the sender likes. Each of these is refused here, because whatever is stored has to survive every
encoder between here and the receiver of the callback. Fractions come out as Decimal, so that a time keeps
every digit; `to_plain` turns what is kept as sent back into numbers an encoder takes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from ringtime_shared.callbacks.http_rules import shown
from ringtime_shared.errors import ErrorWord, InvalidRequest, Violation

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NOT_BRACKET = re.compile(rb"[^][{}]+")
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1


class Unreadable(InvalidRequest):
    """The body is not JSON, or a value in it is of the wrong type."""

    word = ErrorWord.UNREADABLE


def decode_json(body: bytes, max_depth: int) -> object:
    """Return the one JSON value in `body`. Raises Unreadable."""
    if not body:
        raise Unreadable.of("body", "must hold a JSON object; it is empty")
    _check_depth(body, max_depth)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Unreadable.of("body", "must be UTF-8") from None
    try:
        document: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable.of("body", f"must be JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # Python's own limit on the digits of one number
        raise Unreadable.of("body", "must be JSON: a number has too many digits") from None
    if "\\u" in text:
        _check_surrogates(document)
    return document


def to_plain(value: object, path: str, violations: list[Violation]) -> object:
    """Return `value` with Decimals as floats; note numbers that no 64-bit encoder can write."""
    kind = type(value)
    if kind is str:
        return value
    if isinstance(value, dict):
        return {key: to_plain(item, f"{path}.{shown(key)}", violations) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item, path, violations) for item in value]
    if isinstance(value, Decimal):
        value = float(value)
        if not math.isfinite(value):
            violations.append(Violation(path, "the number is too large"))
    elif kind is int and isinstance(value, int) and not _INT64_MIN <= value <= _UINT64_MAX:
        violations.append(Violation(path, "a whole number must fit 64 bits"))
    return value


def is_all_text(value: dict[str, object]) -> bool:
    """Whether there is nothing but strings and objects inside, as in most callbacks."""
    for item in value.values():
        if type(item) is not str and not (isinstance(item, dict) and is_all_text(item)):
            return False
    return True


def _check_depth(body: bytes, max_depth: int) -> None:
    """Refuse nesting deeper than `max_depth` before any parser recurses; brackets in strings are free."""
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    depth = 0
    for bracket in _NOT_BRACKET.sub(b"", _STRING.sub(b"", body)):
        depth += 1 if bracket in b"{[" else -1
        if depth > max_depth:
            raise Unreadable.of("body", f"must not be nested deeper than {max_depth}")


def _check_surrogates(document: object) -> None:
    for path, text in _strings(document, ""):
        try:
            text.encode()
        except UnicodeEncodeError:
            rule = "must be text: it holds half of a surrogate pair"
            raise Unreadable.of(shown(path) or "body", rule) from None


def _strings(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            inside = f"{path}.{key}" if path else key
            yield inside, key
            yield from _strings(item, inside)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, path)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(set(map(str.lower, found))) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key.lower() in seen:
                raise Unreadable.of(
                    shown(key) or "body", "given twice; keys do not tell upper from lower case"
                )
            seen.add(key.lower())
    return found


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("Infinity")


def _constant(text: str) -> NoReturn:
    raise Unreadable.of("body", f"must be JSON: {text} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant)
