"""Creates as nearly all clients write them, read in half the time that `parsing` takes.

msgspec reads a body straight into typed objects, and refuses what is of another type or not known. Two things
that we refuse or keep it would pass over, so they are looked at here:

- It keeps the last of two equal keys. Outside of strings, a colon stands after each key and nowhere else. So
  the colons of a body are as many as the keys that were kept and the colons inside their strings, unless a
  key was given twice. That holds for strings that are written as they are read, so a body with `\\u` in it
  is not read here: it may spell out a colon.
- It cuts fractions to a double. Times are kept as they are spelled, and read like all times.

Whatever is unusual is left to `parsing`: other keys, null, other spellings, and all that is wrong, which only
`parsing` can explain. What both read, they read alike.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import cast

from msgspec import UNSET, MsgspecError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from ringtime_ingest.http.fields import DETAILS
from ringtime_ingest.service.batches import STINT
from ringtime_ingest.service.requests import NewSchedule
from ringtime_shared.api.batches import MAX_ITEMS
from ringtime_shared.api.ids import APP_ID
from ringtime_shared.api.instants import parse_delay, parse_instant
from ringtime_shared.api.labels import Labels, check_labels
from ringtime_shared.schedules.row_filter import labels_of


class _Callback(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    details: dict[str, str | dict[str, str]]


class _Create(Struct, forbid_unknown_fields=True, gc=False):
    appId: str  # noqa: N815 - the names on the wire
    payload: str
    callback: Raw
    scheduleTime: Raw | UnsetType = UNSET  # noqa: N815
    delaySeconds: Raw | UnsetType = UNSET  # noqa: N815
    labels: dict[str, str] | UnsetType = UNSET


class _Batch(Struct, forbid_unknown_fields=True, gc=False):
    schedules: list[_Create]


class _LongBatch(Struct, forbid_unknown_fields=True, gc=False):
    schedules: list[Raw]


_MOST_BYTES = 1_048_576  #: of a batch: msgspec goes through them at a stretch, in about 1 ms
_ODD = (MsgspecError, ValueError, RecursionError)
_KEYS = 3  #: that every create has
_SHORT_BYTES = 1_024  #: callbacks up to here are remembered
_CREATE, _CALLBACK = Decoder(_Create), Decoder(_Callback)
_BATCH, _LONG_BATCH = Decoder(_Batch), Decoder(_LongBatch)
_FRACTION = re.compile(rb"[0-9]+\.[0-9]+")
#: which type the keys have that a callback type of ours reads; it has no others
_KINDS: Mapping[str, Mapping[str, type]] = {
    name: {field.name: field.kind.types[0] for field in shape.fields} for name, shape in DETAILS.items()
}


def read_plain(body: bytes) -> NewSchedule | None:
    """Return what one create asks for; None: it has to be read by `parsing`."""
    if b"\\u" in body:
        return None
    try:
        new, colons = _read_create(_CREATE.decode(body))
    except _ODD:
        return None
    return new if colons == body.count(b":") else None


async def read_plain_batch(body: bytes, most_bytes: int) -> list[NewSchedule] | None:
    """Return what a batch of creates asks for; None: it has to be read by `items`, each item on its own.

    Args:
        most_bytes: of one item.
    """
    if len(body) > _MOST_BYTES or b"\\u" in body:
        return None
    asked: list[NewSchedule] = []
    colons = 1
    try:
        for n, item in enumerate(_decode_batch(body, most_bytes), 1):
            new, those = _read_create(item)
            asked.append(new)
            colons += those
            if n % STINT == 0:
                await asyncio.sleep(0)
    except _ODD:
        return None
    return asked if asked and colons == body.count(b":") else None


def _decode_batch(body: bytes, most_bytes: int) -> Iterable[_Create]:
    """Return the items. Raises MsgspecError, and ValueError for too many, or one that is too long."""
    if len(body) <= most_bytes:  # so no item is longer
        items = _BATCH.decode(body).schedules
        if len(items) > MAX_ITEMS:
            raise ValueError
        return items
    texts = _LONG_BATCH.decode(body).schedules
    if len(texts) > MAX_ITEMS or any(len(bytes(each)) > most_bytes for each in texts):
        raise ValueError
    return map(_CREATE.decode, texts)


def _read_create(new: _Create) -> tuple[NewSchedule, int]:
    """Return what it asks for, and with how many colons it is written if each key is given once. Raises
    MsgspecError, ValueError."""
    labels: Labels = ()
    kind, details, colons = _callback_in(bytes(new.callback))
    colons += _KEYS + new.appId.count(":") + new.payload.count(":")
    if new.labels is not UNSET:
        labels, colons = labels_of(new.labels), colons + 1 + _colons(new.labels)
    fire_ms = delay_ms = None
    if new.scheduleTime is not UNSET:
        text = bytes(new.scheduleTime)
        fire_ms, colons = _read(text, parse_instant), colons + 1 + text.count(b":")
    if new.delaySeconds is not UNSET:
        text = bytes(new.delaySeconds)
        delay_ms, colons = _read(text, parse_delay), colons + 1 + text.count(b":")
    if APP_ID.fullmatch(new.appId) is None or (labels and check_labels(labels, "labels")):
        raise ValueError
    asked = NewSchedule(
        app_id=new.appId,
        payload=new.payload,
        callback_type=kind,
        callback_details=details,
        fire_ms=fire_ms,
        delay_ms=delay_ms,
        labels=labels,
    )
    return asked, colons


def _read(text: bytes, parse: Callable[[object], int]) -> int:
    """Return a time in ms. Raises ValueError, NoInstant among it."""
    if text.isdigit():
        return parse(int(text))
    if text.startswith(b'"'):
        if b"\\" in text:
            raise ValueError
        return parse(text[1:-1].decode())
    if _FRACTION.fullmatch(text) is None:
        raise ValueError
    return parse(Decimal(text.decode()))


def _callback_in(text: bytes) -> tuple[str, dict[str, object], int]:
    """Return type and details of a callback, and its colons. Raises MsgspecError, ValueError."""
    if len(text) > _SHORT_BYTES:
        return _read_callback(text)
    found = _read_short(text)
    # Those of a type of ours are looked at by nobody who would change them, so many creates share them.
    return found if found[0] in _KINDS else _read_callback(text)


def _read_callback(text: bytes) -> tuple[str, dict[str, object], int]:
    callback, colons = _CALLBACK.decode(text), text.count(b":")
    if 2 + callback.type.count(":") + _colons_of_details(callback) != colons:
        raise ValueError  # a key is given twice
    return callback.type, cast(dict[str, object], callback.details), colons


#: Most schedules of an app have one of few callbacks.
_read_short = lru_cache(maxsize=1_024)(_read_callback)


def _colons_of_details(callback: _Callback) -> int:
    """Return what `_colons` does, or raises, and raise ValueError for what a type of ours does not read."""
    kinds, details = _KINDS.get(callback.type), callback.details
    if kinds is None:
        return _colons(details)
    colons = len(details)
    for key, value in details.items():
        if kinds.get(key) is not type(value):
            raise ValueError
        colons += value.count(":") if isinstance(value, str) else _colons(value)
    return colons


def _colons(members: Mapping[str, str | dict[str, str]]) -> int:
    """Return with how many colons an object is written in which each key is given once. Raises ValueError for
    keys that are the same but for upper and lower case."""
    colons = len(members)
    if colons > 1 and len(set(map(str.lower, members))) != colons:
        raise ValueError
    for key, value in members.items():
        colons += key.count(":") + (value.count(":") if isinstance(value, str) else _colons(value))
    return colons
