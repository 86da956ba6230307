"""An entry of the audit log as JSON; the same for all durable drivers.

Keys that are not known are passed over, so what a later version wrote can be read.
"""

from __future__ import annotations

import msgspec

from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.slim import encode_slim

decode_entry = msgspec.json.Decoder(AuditEntry).decode


def encode_entry(entry: AuditEntry) -> str:
    """Return a JSON object."""
    return encode_slim(entry).decode()
