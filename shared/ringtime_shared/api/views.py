"""How the API's answers are declared: one frozen dataclass an object.

An attribute has its own name on the wire, in camel case, or the one that its `Doc` says; a field without a
default is always there. From the class follow how a client reads the object and what OpenAPI says of it; the
function beside the class writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from msgspec import convert

from ringtime_shared.api.instants import to_iso
from ringtime_shared.models.setting import Setting

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Doc:
    """What is said of a key, beside its type."""

    text: str  #: one sentence
    name: str = ""  #: on the wire, where it is not that of the attribute in camel case


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an object."""

    name: str
    attribute: str
    kind: Any  #: the type, without None: that stands for left out
    doc: str
    is_optional: bool  #: it may be left out


@cache
def keys_of(view: type) -> tuple[Key, ...]:
    """Return the keys of a view, or of a model that is shown inside one."""
    hints = get_type_hints(view, include_extras=True)
    return tuple(_key_of(each, hints[each.name]) for each in fields(view))


def read(view: type[V], shown: object) -> V:
    """Read an object of an answer; keys that are not known are passed over. Raises ValidationError."""
    return convert(_renamed(view, shown), view)


def show(view: Any) -> dict[str, object]:
    """Return an object of an answer as JSON. What may be left out, and has its default, is."""
    defaults = {each.name: each.default for each in fields(view)}
    return {
        key.name: _shown(value)
        for key in keys_of(cast(Any, type(view)))
        for value in (getattr(view, key.attribute),)
        if not (key.is_optional and value == defaults[key.attribute])
    }


def _shown(value: object) -> object:
    if is_dataclass(value):
        return show(value)
    if isinstance(value, datetime):
        return to_iso(round(value.timestamp() * 1_000))
    if isinstance(value, (list, tuple)):
        return [_shown(each) for each in value]
    return value


def _key_of(attribute: Field[Any], hint: Any) -> Key:
    kind, about = get_args(hint)
    if get_origin(kind) is UnionType:
        kind = next(each for each in get_args(kind) if each is not NoneType)
    is_optional = attribute.default is not MISSING or attribute.default_factory is not MISSING
    if isinstance(about, Setting):
        return Key(about.name, attribute.name, kind, about.doc, is_optional)
    first, *others = attribute.name.split("_")
    name = about.name or first + "".join(map(str.capitalize, others))
    return Key(name, attribute.name, kind, about.text, is_optional)


def _renamed(kind: Any, shown: object) -> object:
    """Return JSON with the names of attributes; what is of the wrong type stays as it is."""
    if is_dataclass(kind) and isinstance(shown, Mapping):
        given = cast(Mapping[str, object], shown)
        keys = [key for key in keys_of(cast(type, kind)) if key.name in given]
        return {key.attribute: _renamed(key.kind, given[key.name]) for key in keys}
    if get_origin(kind) in (tuple, Sequence) and isinstance(shown, list):
        return [_renamed(get_args(kind)[0], each) for each in shown]
    return shown
