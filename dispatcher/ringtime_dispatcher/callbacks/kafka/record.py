"""The record of one attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from ringtime_shared.callbacks.protocol import Delivery

_FRAMING_BYTES = 70  #: what a record and the batch around it take beside their contents


@dataclass(frozen=True, slots=True)
class Record:
    """What goes to the broker."""

    topic: str
    partition: int | None  #: None: the key decides, as in the Java client
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]  #: the client's own, then ours

    @classmethod
    def of(cls, delivery: Delivery) -> Record:
        """Make the record of a delivery whose details `KafkaRules` has passed."""
        details, schedule = delivery.details, delivery.schedule
        schedule_id = str(schedule.schedule_id).encode()
        key = details.get("key")
        given = cast(dict[str, str], details.get("headers") or {})
        headers = [(name, value.encode()) for name, value in given.items()]
        headers += [
            ("schedule-id", schedule_id),
            ("ringtime-attempt", b"%d" % delivery.attempt),
            ("ringtime-fire-time", _instant(schedule.fire_ms).encode()),
            ("ringtime-term", b"%d" % delivery.term),
        ]
        return cls(
            topic=cast(str, details["topic"]),
            partition=cast("int | None", details.get("partition")),
            key=schedule_id if key is None else cast(str, key).encode(),
            value=schedule.payload.encode(),
            headers=headers,
        )

    @property
    def size_bytes(self) -> int:
        """The size in a batch of its own, to some ten bytes."""
        contents = sum(len(name.encode()) + len(value) + 4 for name, value in self.headers)
        return _FRAMING_BYTES + len(self.key) + len(self.value) + contents


def _instant(epoch_ms: int) -> str:
    text = datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
