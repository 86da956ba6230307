"""Telling a stored record that can be used from one that is damaged; the same for all durable drivers.

Files get damaged and people write into tables, so a cell may be missing, of another type, out of range, or
JSON of something else. What a driver has read is therefore checked before it is used: all records of a page
at once, in C (some 0.1 us a row, where making the row takes 4). Only if that refuses the page are its records
looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from msgspec import Meta, MsgspecError, Raw, Struct, ValidationError, convert
from msgspec.json import Decoder

from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome
from ringtime_shared.stores.extras import Extras, decode_extras, decode_outcome
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks

T = TypeVar("T")

KEPT_MS = 30 * 86_400_000  #: how long a note of a damaged record is kept
LAST_MS = 253_402_300_799_999  #: the end of the year 9999
MOST_FAULT_CHARS = 200
_MOST = (1 << 63) - 1
_MOST_JSON_CHARS = 1 << 20
_NATIVE = (bytes, UUID)  #: else text that looks like base64 would do for bytes
_decode_details = Decoder(dict[str, Raw]).decode
_IN_PATH = re.compile(r" - at `\$([^`]*)`")

Millis = Annotated[int, Meta(ge=0, le=LAST_MS)]
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Json = Annotated[str, Meta(max_length=_MOST_JSON_CHARS)]
IdBytes = Annotated[bytes, Meta(min_length=16, max_length=16)]


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
    try:
        if len(text) > _MOST_JSON_CHARS:
            raise ValueError(f"more than {_MOST_JSON_CHARS} characters")
        model = decode(text)
        _check_numbers(model, least)
    except Exception as error:  # noqa: BLE001 - whatever text makes the decoder do
        raise ValueError(f"{column}: {fault_of(error)}") from None
    return model


def read_extras(text: str, column: str = "extras") -> Extras:
    """Return the extras of a row or an outcome. Raises ValueError."""
    return read_json(column, decode_extras, text)


def read_outcome(text: str) -> Outcome:
    """Return a whole outcome. Raises ValueError."""
    return read_json("outcome", decode_outcome, text)


def read_marks(sealed_ms: object, settled_ms: object) -> Marks:
    """Return the marks that these cells hold, or `DAMAGED_MARKS`."""
    if not isinstance(sealed_ms, int) or not isinstance(settled_ms, int):
        return DAMAGED_MARKS
    is_sound = 0 <= sealed_ms <= LAST_MS and 0 <= settled_ms <= LAST_MS
    return Marks(sealed_ms, settled_ms) if is_sound else DAMAGED_MARKS


def read_term(term: object) -> int:
    """Return the term that this cell holds; 0, as of an instance nobody owned yet, if it holds none."""
    return term if isinstance(term, int) and term >= 0 else 0


def check_details(details: bytes) -> None:
    """Raise ValueError if the details of a callback are no JSON object."""
    try:
        _decode_details(details)
    except (ValueError, MsgspecError, RecursionError) as error:
        raise ValueError(f"callback_details: {fault_of(error)}") from None


def _check_numbers(value: object, least: int) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_numbers(item, least)
    elif is_dataclass(value):
        for field in fields(value):
            found = getattr(value, field.name)
            if isinstance(found, (int, float)) and not isinstance(found, bool):
                if not least <= found <= (LAST_MS if field.name.endswith("_ms") else _MOST):
                    raise ValueError(f"{field.name} is out of range: {found}")
            else:
                _check_numbers(found, least)


def damaged_letter(app_id: str, slot_ms: int, schedule_id: UUID, fault: str) -> DeadLetter:
    """Return what can be said of a dead letter that cannot be read: its key, and why."""
    return DeadLetter(
        app_id=app_id,
        schedule_id=schedule_id,
        slot_ms=slot_ms,
        fire_ms=slot_ms,
        failed_ms=slot_ms,
        attempts=0,
        error=f"this dead letter cannot be read: {fault}"[:MOST_FAULT_CHARS],
        callback_type="",
        expires_ms=slot_ms,
    )


def damaged_entry(at_ms: int, entry_id: UUID, fault: str) -> AuditEntry:
    """Return what can be said of an entry that cannot be read: its key, and why."""
    subject = f"this entry cannot be read: {fault}"[:MOST_FAULT_CHARS]
    return AuditEntry(entry_id=entry_id, at_ms=at_ms, operator="", action="", subject=subject)


class Columns(Struct, array_like=True, gc=False):
    """Base of the columns of a `Shape`."""
