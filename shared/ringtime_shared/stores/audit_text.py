"""An entry of the audit log as JSON; the same for all durable drivers.

Keys that are not known are passed over, so what a later version wrote can be read.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.damage import damaged_entry, fault_of, read_json
from ringtime_shared.stores.slim import encode_slim

decode_entry = msgspec.json.Decoder(AuditEntry).decode


def read_entry(at_ms: int, entry_id: UUID, text: object) -> AuditEntry:
    """Read key and column of an entry; of one that is damaged, what can be told of it."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"entry: must be text, not {type(text).__name__}")
        return read_json("entry", decode_entry, text)
    except ValueError as error:
        return damaged_entry(at_ms, entry_id, fault_of(error))


def encode_entry(entry: AuditEntry) -> str:
    """Return a JSON object."""
    return encode_slim(entry).decode()
