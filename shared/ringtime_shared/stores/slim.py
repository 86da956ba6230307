"""Models as JSON without the fields that have their default value: most have most of them, and a field
that a later version adds costs nothing until it is used."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import msgspec

_encode = msgspec.json.Encoder().encode


def encode_slim(model: object) -> bytes:
    """Return a dataclass, or a tuple of them, as JSON."""
    return _encode(_slim(model))


def _slim(value: object) -> object:
    if is_dataclass(value):
        named = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: _slim(item) for field, item in named if item != field.default}
    if isinstance(value, tuple):
        return [_slim(item) for item in value]
    return value
