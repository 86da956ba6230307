"""Request bodies as JSON objects of known shape, and nothing that only nearly is.

`json.loads` takes NaN, duplicate keys, UTF-16, a byte order mark and lone surrogates, and recurses as deep
as the sender likes. Each of these is refused here, because whatever is stored has to survive every
encoder between here and the receiver of the callback. Fractions come out as Decimal, so that a time keeps
every digit; `to_plain` turns what is kept as sent back into numbers an encoder takes.

Of an object, keys are matched without regard to case and unknown ones are passed over, as goscheduler
does. `null` is the same as leaving a field out, except where a field says otherwise, and in a change, where
it takes away what there is, as in a JSON Merge Patch (RFC 7396). The types are exact: `true` is no number and
`"1"` is none either.

Creates as nearly all clients write them do without: see `plain`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import NoReturn, cast

from ringtime_shared.callbacks.http_rules import shown
from ringtime_shared.errors import WHOLE_BODY, ErrorWord, InvalidRequest, Violation

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NOT_BRACKET = re.compile(rb"[^][{}]+")
TOO_MANY_DIGITS = "must be JSON: a number has too many digits"
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1


class Unreadable(InvalidRequest):
    """The body is not JSON, or a value in it is of the wrong type."""

    word = ErrorWord.UNREADABLE


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


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a request object."""

    name: str
    kind: Kind
    doc: str
    schema: Mapping[str, object] | None = None  #: instead of the kind's own
    nullable: bool = True  #: whether null stands for leaving it out; else it is of the wrong type


def load(body: bytes, max_depth: int) -> object:
    """Return the JSON value of a body. Raises Unreadable."""
    check_depth(body, max_depth)
    text = to_text(body)
    try:
        document: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable.of("body", f"must be JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # Python's own limit on the digits of one number
        raise Unreadable.of("body", TOO_MANY_DIGITS) from None
    if "\\u" in text:
        check_surrogates(document)
    return document


def to_text(body: bytes) -> str:
    """Return a body as text. Raises Unreadable."""
    if not body:
        raise Unreadable.of("body", "must hold a JSON object; it is empty")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Unreadable.of("body", "must be UTF-8") from None


class Shape:
    """One request object."""

    def __init__(
        self,
        *fields: Field,
        required: tuple[str, ...] = (),
        is_closed: bool = False,
        is_change: bool = False,
        also: Mapping[str, object] | None = None,
    ) -> None:
        """`is_closed`: unknown keys are refused, because one passed over would change what is asked for.
        `is_change`: a field that is null is read, as None. `also`: what the schema says of the fields
        together."""
        self.fields = fields
        self.required = required
        self.is_closed = is_closed
        self.is_change = is_change
        self._also = {**(also or {}), **({"additionalProperties": False} if is_closed else {})}
        self._names = frozenset(field.name for field in fields)
        self._by_key = {key: field for field in fields for key in (field.name, field.name.lower())}

    def closed(self) -> Shape:
        """Return the same shape that refuses unknown keys."""
        return Shape(*self.fields, required=self.required, is_closed=True, also=self._also)

    def decode(self, body: bytes, max_depth: int, wrong: list[Violation]) -> dict[str, object]:
        """Return the known fields of a body, as `read` does. Raises Unreadable if it is no JSON value."""
        return self.read(load(body, max_depth), "", wrong)

    def read(self, value: object, path: str, wrong: list[Violation]) -> dict[str, object]:
        """Return the known fields by their proper names; note those of the wrong type in `wrong`."""
        if not isinstance(value, dict):
            wrong.append(Violation(path.rstrip(".") or WHOLE_BODY, "must be an object"))
            return {}
        known: dict[str, object] = {}
        for key, item in value.items():
            field = self._by_key.get(key) or self._by_key.get(key.lower())
            if field is None:
                if self.is_closed:
                    wrong.append(Violation(path + (shown(key) or WHOLE_BODY), "is not known here"))
                continue
            if item is None and field.nullable:
                if self.is_change:
                    known[field.name] = None
                continue
            if type(item) not in field.kind.types:
                wrong.append(Violation(path + field.name, field.kind.rule))
                continue
            if field.kind.holds is not object:
                item_wrong = _check_values(cast(dict[str, object], item), field.kind.holds, path + field.name)
                if item_wrong:
                    wrong += item_wrong
                    continue
            known[field.name] = item
        return known

    def with_own_keys(self, value: dict[str, object]) -> dict[str, object]:
        """Return the object with known keys under their proper names, and the others as they are."""
        if value.keys() <= self._names:
            return value
        own = ((self._by_key.get(key) or self._by_key.get(key.lower()), key, value[key]) for key in value)
        return {key if field is None else field.name: item for field, key, item in own}

    def schema(self, maxima: Mapping[str, int] = MappingProxyType({})) -> dict[str, object]:
        """Return this shape as JSON Schema; `maxima` are those that settings decide, by field."""
        properties = {field.name: self._property(field, maxima.get(field.name)) for field in self.fields}
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            **self._also,
        }

    def _property(self, field: Field, most: int | None) -> dict[str, object]:
        """A field that is required cannot be null, which stands for leaving it out."""
        schema = dict(field.schema or field.kind.schema)
        if most is not None:
            schema["maximum"] = most
        if not field.nullable or field.name in self.required:
            return {**schema, "description": field.doc}
        kind = schema.get("type")
        if isinstance(kind, str) and "const" not in schema and "enum" not in schema:
            return {**schema, "type": [kind, "null"], "description": field.doc}
        kinds = cast("list[object]", schema.get("anyOf", [schema]))
        return {"anyOf": [*kinds, {"type": "null"}], "description": field.doc}


def _check_values(value: dict[str, object], kind: type, path: str) -> list[Violation]:
    if set(map(type, value.values())) <= {kind}:
        return []
    return [
        Violation(f"{path}.{shown(key)}".rstrip("."), "must be a string")
        for key, item in value.items()
        if type(item) is not kind
    ]


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


def check_depth(body: bytes, max_depth: int) -> None:
    """Raise Unreadable for nesting deeper than `max_depth`; brackets in strings are free."""
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    depth = 0
    for bracket in _NOT_BRACKET.sub(b"", _STRING.sub(b"", body)):
        depth += 1 if bracket in b"{[" else -1
        if depth > max_depth:
            raise Unreadable.of("body", f"must not be nested deeper than {max_depth}")


def check_surrogates(document: object) -> None:
    """Raise Unreadable for text that no encoder takes."""
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


def to_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the members of an object. Raises Unreadable for keys that are given twice."""
    members = dict(pairs)
    if len(set(map(str.lower, members))) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key.lower() in seen:
                raise Unreadable.of(
                    shown(key) or "body", "given twice; keys do not tell upper from lower case"
                )
            seen.add(key.lower())
    return members


def to_decimal(text: str) -> Decimal:
    """Return a number with a fraction or an exponent."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("Infinity")


def refuse_constant(text: str) -> NoReturn:
    """Raise Unreadable for NaN and the like."""
    raise Unreadable.of("body", f"must be JSON: {text} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=to_object, parse_float=to_decimal, parse_constant=refuse_constant
)
