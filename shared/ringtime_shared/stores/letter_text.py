"""A dead letter as JSON; the same for all durable drivers. When it was filed again is a column of its own,
so that a delivery repeated after a crash, which writes the letter once more, does not undo it.

Keys that are not known are passed over, so what a later version wrote can be read.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.slim import encode_slim

_decode = msgspec.json.Decoder(DeadLetter).decode


def encode_letter(letter: DeadLetter) -> str:
    """Return a JSON object without `replayed_ms`, which is None in a letter that is written."""
    return encode_slim(letter).decode()


def decode_letter(text: str, replayed_ms: int | None) -> DeadLetter:
    """Read both columns."""
    letter = _decode(text)
    return letter if replayed_ms is None else replace(letter, replayed_ms=replayed_ms)
