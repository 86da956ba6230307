"""A dead letter as JSON; the same for all durable drivers. When it was filed again is a column of its own,
so that a delivery repeated after a crash, which writes the letter once more, does not undo it.

Keys that are not known are passed over, so what a later version wrote can be read.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import msgspec

from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.damage import damaged_letter, fault_of, read_json
from ringtime_shared.stores.slim import encode_slim

_decode = msgspec.json.Decoder(DeadLetter).decode


def encode_letter(letter: DeadLetter) -> str:
    """Return a JSON object without `replayed_ms`, which is None in a letter that is written."""
    return encode_slim(letter).decode()


def read_letter(
    app_id: str, slot_ms: int, schedule_id: UUID, text: object, replayed_ms: object
) -> DeadLetter:
    """Read key and columns of a dead letter; of one that is damaged, what can be told of it."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"letter: must be text, not {type(text).__name__}")
        if replayed_ms is not None and not isinstance(replayed_ms, int):
            raise ValueError(f"replayed_ms: must be a number, not {type(replayed_ms).__name__}")
        return read_json("letter", lambda text: decode_letter(text, replayed_ms), text)
    except ValueError as error:
        return damaged_letter(app_id, slot_ms, schedule_id, fault_of(error))


def decode_letter(text: str, replayed_ms: int | None) -> DeadLetter:
    """Read both columns."""
    letter = _decode(text)
    return letter if replayed_ms is None else replace(letter, replayed_ms=replayed_ms)
