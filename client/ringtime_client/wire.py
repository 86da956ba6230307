"""Request bodies as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from ringtime_shared.errors import InvalidRequest


def to_body(fields: Mapping[str, object]) -> bytes:
    """Return a request body. Raises InvalidRequest for what JSON cannot hold."""
    try:
        return orjson.dumps(fields, default=_to_dict)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest.of("body", f"must be JSON: {error}") from error


def _to_dict(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")
