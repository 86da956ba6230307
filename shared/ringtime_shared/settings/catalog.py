"""The settings as data: each field with its key, variable, type, default and the values it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

from msgspec import ValidationError, convert, inspect

from ringtime_shared.settings.root import Settings

PREFIX = "RINGTIME_"


@dataclasses.dataclass(frozen=True, slots=True)
class SettingField:
    """One setting."""

    group: str
    name: str
    type: Any  #: the annotation, with its constraints
    default: object
    is_secret: bool  #: kept out of every repr

    @property
    def key(self) -> str:
        return f"{self.group}.{self.name}"

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.group}_{self.name}".upper()

    @property
    def allowed(self) -> str:
        """What the setting takes, in words."""
        return _words(inspect.type_info(self.type))

    def read(self, value: object) -> object:
        """Return a value from a file or from code as the setting's type. Raises ValueError."""
        return self._convert(value, strict=True)

    def read_text(self, text: str) -> object:
        """Return a value from the environment as the setting's type. Raises ValueError."""
        if isinstance(inspect.type_info(self.type), inspect.VarTupleType):
            return self._convert([part.strip() for part in text.split(",") if part.strip()], strict=False)
        return self._convert(text, strict=False)

    def _convert(self, value: object, *, strict: bool) -> object:
        try:
            return convert(value, self.type, strict=strict)
        except ValidationError:
            raise ValueError(f"must be {self.allowed}") from None


@cache
def catalog() -> Mapping[str, SettingField]:
    """Return every setting by key, in the order of the groups."""
    fields = (
        SettingField(group.name, item.name, hints[item.name], item.default, is_secret=not item.repr)
        for group in dataclasses.fields(Settings)
        for hints in [get_type_hints(group_class(group.name), include_extras=True)]
        for item in dataclasses.fields(group_class(group.name))
    )
    return {field.key: field for field in fields}


def group_class(group: str) -> type[Any]:
    """Return the dataclass of a group. Raises KeyError."""
    hint: type[Any] = get_type_hints(Settings)[group]
    return hint


def group_names() -> list[str]:
    """Return the groups, in order."""
    return [group.name for group in dataclasses.fields(Settings)]


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.StrType(pattern=str() as pattern):
            return f"text that matches {pattern}"
        case inspect.StrType(min_length=int()):
            return "text, not empty"
        case inspect.StrType():
            return "text"
        case inspect.VarTupleType(item_type=item, min_length=least):
            return f"a list of {_words(item)}" + (f"; at least {least}" if least else "")
        case inspect.UnionType(types=types):
            return " or ".join(_words(part) for part in types)
        case inspect.NoneType():
            return "none"
    raise TypeError(f"no words for {kind}")


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.le is None:
        return "" if kind.ge is None else f" from {kind.ge:,} up"
    return f" from {kind.ge:,} to {kind.le:,}"
