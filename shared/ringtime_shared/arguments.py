"""Checks of what callers pass to the library and the clients, by the annotations of each verb.

A wrong type is told where it comes in, as an `InvalidRequest` that names the argument, and not by whatever
error the depths raise when they meet it. The rules come from the annotations, so a new verb has them too.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from msgspec import ValidationError, convert

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import InvalidRequest

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[str, Any], Any]  #: of name and value; returns the value to go on with

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ID = frozenset((UUID, str))  #: annotation of a schedule id
Instant: TypeAlias = datetime | int | float  #: a time with its zone, or epoch seconds
_INSTANT = frozenset((datetime, int, float))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IN_PATH = re.compile(r" - at `\$([^`]*)`")
_WORDS = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    datetime: "a datetime",
    timedelta: "a timedelta",
    Mapping: "a mapping",
    Sequence: "a list, or another sequence",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of each call by their annotations.

    An id, annotated `UUID | str`, comes in as a UUID whichever it was, and an `Instant` as a datetime. The
    function raises InvalidRequest, which names the argument; a coroutine function does when it is awaited.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    checks = {name: _check_of(hints[name]) for name in signature.parameters if name in hints}
    names = [
        name
        for name, each in signature.parameters.items()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]

    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        given = list(args)
        for n, name in enumerate(names[: len(given)]):
            if name in checks:
                given[n] = checks[name](name, given[n])
        return given, {
            name: checks[name](name, value) if name in checks else value for name, value in kwargs.items()
        }

    if inspect.iscoroutinefunction(function):

        async def wait(*args: P.args, **kwargs: P.kwargs) -> Any:
            given, named = check(args, kwargs)
            return await function(*given, **named)

        wrapper: Any = wait
    else:

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given, named = check(args, kwargs)
            return function(*given, **named)

        wrapper = call
    wrapped: Callable[P, R] = wraps(function)(wrapper)
    return wrapped


def _check_of(hint: Any) -> Check:
    """Return the check for one annotation."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    choices = get_args(hint) if is_union else (hint,)
    wanted = [each for each in choices if each is not type(None)]
    is_optional = len(wanted) < len(choices)
    one = _KNOWN.get(frozenset(wanted)) or _any_of(wanted)

    def check(name: str, value: Any) -> Any:
        return None if value is None and is_optional else one(name, value)

    return check


def to_id(name: str, value: object) -> UUID:
    """Return a schedule id. Raises InvalidRequest."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise InvalidRequest.of(
        name, "must be a UUID, or its text: 32 hexadecimal digits in groups of 8-4-4-4-12"
    )


def to_instant(name: str, value: object) -> datetime:
    """Return an instant as a datetime, rounded up to a millisecond if it is epoch seconds.

    Raises InvalidRequest, also for a datetime without a zone: which instant it means is anybody's guess.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidRequest.of(name, "must be timezone-aware")
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidRequest.of(name, "must be a datetime with its time zone, or epoch seconds as a number")
    try:
        ms = parse_instant(Decimal(repr(value)))
    except (ValueError, ArithmeticError) as error:
        rule = str(error) if isinstance(error, ValueError) else "must be epoch seconds, and finite"
        raise InvalidRequest.of(name, rule) from None
    return _EPOCH + timedelta(milliseconds=ms)


#: Checks of annotations that more than one type fits, and that let one of them through.
_KNOWN: Mapping[frozenset[Any], Check] = {_ID: to_id, _INSTANT: to_instant}


def _any_of(hints: Sequence[Any]) -> Check:
    kinds = tuple(get_origin(each) or each for each in hints)
    if not all(isinstance(kind, type) for kind in kinds):
        return lambda _, value: value  # a type variable, or the like: nothing to hold it against
    rule = "must be " + " or ".join(_WORDS.get(kind, kind.__name__) for kind in kinds)
    items: Check | None = next(
        (_check_of(get_args(each)[0]) for each in hints if get_origin(each) is Sequence), None
    )
    is_of_text = any(get_origin(each) is Mapping and get_args(each) == (str, str) for each in hints)
    models: tuple[Any, ...] = tuple(kind for kind in kinds if is_dataclass(kind) and _is_readable(kind))
    plain = frozenset(kinds) & _WORDS.keys()  # exactly these need no second look

    def check(name: str, value: Any) -> Any:
        if type(value) in plain:
            return value
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in plain):
            raise InvalidRequest.of(name, rule)
        if isinstance(value, models):
            return _to_model(name, value)
        if items is not None:
            if isinstance(value, (str, bytes)):
                raise InvalidRequest.of(name, rule)
            return _each(items, name, cast(Sequence[Any], value))
        if is_of_text and not all(isinstance(each, str) for pair in value.items() for each in pair):
            raise InvalidRequest.of(name, "must be a mapping of text to text")
        return value

    return check


def _each(check: Check, name: str, values: Sequence[Any]) -> list[Any]:
    return [check(f"{name}[{n}]", value) for n, value in enumerate(values)]


def _is_readable(model: Any) -> bool:
    """Whether `convert` can hold a dataclass against its annotations; the fields of others are for the verb
    to check."""
    try:
        convert({}, model)
    except ValidationError:
        return True
    except TypeError:
        return False
    return True


def _to_model(name: str, value: Any) -> Any:
    """Return a dataclass whose fields are of the types it says. Raises InvalidRequest."""
    try:
        return convert(_to_dict(value), type(value))
    except ValidationError as error:
        path = _IN_PATH.search(str(error))
        field = f"{name}{path[1]}" if path else name
        text = str(error)[: path.start()] if path else str(error)
        raise InvalidRequest.of(field, text[:1].lower() + text[1:]) from None


def _to_dict(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_dict(getattr(value, field.name)) for field in fields(value)}
    return dict(value) if isinstance(value, Mapping) else value
