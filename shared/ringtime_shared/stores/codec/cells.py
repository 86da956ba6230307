"""What a cell may hold, how a stored record is checked, and models as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints
from uuid import UUID

from msgspec import Meta, MsgspecError, Struct, ValidationError, convert
from msgspec.json import Encoder

T = TypeVar("T")

KEPT_MS = 30 * 86_400_000  #: how long a note of a damaged record is kept
LAST_MS = 253_402_300_799_999  #: the end of the year 9999
MOST_FAULT_CHARS = 200
_MOST = (1 << 63) - 1
_MOST_JSON_CHARS = 1 << 20
_NATIVE = (bytes, UUID)  #: else text that looks like base64 would do for bytes
_IN_PATH = re.compile(r" - at `\$([^`]*)`")

Millis = Annotated[int, Meta(ge=0, le=LAST_MS)]
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Whole = Annotated[int, Meta(ge=0, le=_MOST)]
Json = Annotated[str, Meta(max_length=_MOST_JSON_CHARS)]
IdBytes = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Columns(Struct, array_like=True, gc=False):
    """Base of the columns of a `Shape`."""


class Shape(Generic[T]):
    """What the columns of a record may hold.

    Args:
        columns: a `Struct` with `array_like`, its fields named as the columns.
    """

    def __init__(self, columns: type[T]) -> None:
        self._one = columns
        self._many = list[columns]  # type: ignore[valid-type]
        self._names: tuple[str, ...] = columns.__struct_fields__  # type: ignore[attr-defined]

    def fits(self, records: Sequence[tuple[Any, ...]]) -> bool:
        """Whether every record may be read."""
        try:
            convert(records, self._many, builtin_types=_NATIVE)
        except ValidationError:
            return False
        return True

    def check(self, record: tuple[Any, ...]) -> None:
        """Raise ValueError, which names the column and says what is wrong with it."""
        try:
            convert(record, self._one, builtin_types=_NATIVE)
        except ValidationError as error:
            raise ValueError(self._named(str(error))) from None

    def _named(self, message: str) -> str:
        path = _IN_PATH.search(message)
        index = re.match(r"\[(\d+)\]", path[1]) if path else None
        if path is None or index is None:
            return message
        return f"{self._names[int(index[1])]}: {message[: path.start()]}"


def fault_of(error: Exception) -> str:
    """Return what is wrong, short, and as text that every store takes."""
    text = str(error) if isinstance(error, (ValueError, MsgspecError)) else f"{type(error).__name__}: {error}"
    return text[:MOST_FAULT_CHARS].encode(errors="replace").decode()


def read_json(column: str, decode: Callable[[str], T], text: str, least: int = 0) -> T:
    """Return the model that a JSON cell holds. Raises ValueError, which names the column.

    Args:
        least: the smallest value of its numbers; instants and durations end at `LAST_MS`.
    """
    model = read_text(column, decode, text)
    try:
        check_numbers(model, least)
    except ValueError as error:
        raise ValueError(f"{column}: {fault_of(error)}") from None
    return model


def read_text(column: str, decode: Callable[[str], T], text: str) -> T:
    """Return what a decoder makes of a cell, which is to have checked its numbers. Raises ValueError, which
    names the column."""
    try:
        if len(text) > _MOST_JSON_CHARS:
            raise ValueError(f"more than {_MOST_JSON_CHARS} characters")
        return decode(text)
    except Exception as error:  # noqa: BLE001 - whatever text makes the decoder do
        raise ValueError(f"{column}: {fault_of(error)}") from None


def check_numbers(value: object, least: int) -> None:
    """Raise ValueError for a number of a model, or of those in a tuple, that is out of range."""
    if isinstance(value, tuple):
        for item in value:
            check_numbers(item, least)
        return
    of: Any = value.__class__
    for name, most in _limits_of(of):
        found = getattr(value, name)
        kind = found.__class__
        if kind is int or kind is float:
            if not least <= found <= most:
                raise ValueError(f"{name} is out of range: {found}")
        elif found is not None:
            check_numbers(found, least)


@lru_cache(maxsize=256)
def _limits_of(kind: type) -> tuple[tuple[str, int], ...]:
    """Return of each field of a dataclass that may hold numbers its name, and the most that they may be;
    nothing of what is no dataclass. Most fields hold none, and are not worth a look in each record."""
    if not is_dataclass(kind):
        return ()
    hints = get_type_hints(kind)
    return tuple(
        (field.name, LAST_MS if field.name.endswith("_ms") else _MOST)
        for field in fields(kind)
        if _may_hold_numbers(hints[field.name])
    )


def _may_hold_numbers(hint: Any) -> bool:
    if arguments := get_args(hint):  # of a union, or a tuple
        return any(_may_hold_numbers(each) for each in arguments if each is not Ellipsis)
    return not (isinstance(hint, type) and issubclass(hint, (str, bytes, bool, UUID, NoneType, Enum)))


@lru_cache(maxsize=256)
def _defaults_of(kind: type) -> tuple[tuple[str, object], ...] | None:
    """Return of each field of a dataclass its name and default; None: it is no dataclass. To ask for them
    costs more than what is done with them."""
    return tuple((field.name, field.default) for field in fields(kind)) if is_dataclass(kind) else None


encode = Encoder().encode


def encode_slim(model: object) -> bytes:
    """Return a dataclass, or a tuple of them, as JSON."""
    return encode(_slim(model))


def _slim(value: object) -> object:
    kind: Any = value.__class__
    if kind in _PLAIN:
        return value
    if isinstance(value, tuple):
        return [_slim(item) for item in value]
    if (defaults := _defaults_of(kind)) is not None:
        found = ((name, getattr(value, name), default) for name, default in defaults)
        return {name: _slim(item) for name, item, default in found if item != default}
    return value


_PLAIN = {bool, bytes, str, NoneType, UUID, int, float}
