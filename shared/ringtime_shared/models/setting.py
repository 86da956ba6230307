"""What an app may set, as data: the annotation of one field of a model is all there is to say of a setting.

    weight: Annotated[int | None, Setting("weight", "Share of a busy dispatcher.", most=100)] = None

From such an entry follow the parser and its rules, the JSON, OpenAPI, `ringctl apps configure`, the client
and `docs/app-settings.md`; how is in `ringtime_shared.api.configuration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NewType, get_args, get_type_hints

FieldPath = NewType("FieldPath", str)
"""Leads to a value in JSON: `card.number`, or `items.*.price`, where `*` is any name or place."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is said of one setting, beside its attribute and its type."""

    name: str  #: on the wire, and on ringctl's command line
    doc: str  #: one sentence
    unit: str = ""  #: in words: "days", "bytes"; "" for a count
    most: int | str = 0  #: of a number, the least is 1; or the bound of the server that says it, by name
    unset: str = ""  #: what holds where it is left out: in words, or the key of a server's setting
    pattern: str = ""  #: of a text: what it must match as a whole
    shape: str = ""  #: that pattern in words


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting with the place of its value."""

    attribute: str
    #: int, float, bool, str, tuple (of statuses), `FieldPath` (a tuple of them), or a model with settings
    kind: Any
    setting: Setting

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def is_number(self) -> bool:
        return self.kind in (int, float)

    def most(self, bounds: object) -> int:
        """Return the most a number may be; `bounds` has the attributes that entries name."""
        most = self.setting.most
        return int(getattr(bounds, most)) if isinstance(most, str) else most


def entries_of(model: type) -> tuple[Entry, ...]:
    """Return the settings of a model, in the order of its fields."""
    return _read_entries(model)


@cache  # apart, because mypy takes the class of a dataclass for unhashable
def _read_entries(model: type) -> tuple[Entry, ...]:
    return tuple(
        Entry(attribute, _kind_of(hint), get_args(hint)[1])
        for attribute, hint in get_type_hints(model, include_extras=True).items()
    )


def _kind_of(hint: Any) -> Any:
    """Return the type in `Annotated[X | None, Setting(...)]`; of `tuple[str, ...]` it is `tuple`, of a tuple
    of another type that type."""
    wanted = next(each for each in get_args(get_args(hint)[0]) if each is not type(None))
    items = get_args(wanted)
    return FieldPath if FieldPath in items else getattr(wanted, "__origin__", wanted)
