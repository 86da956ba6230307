"""A row that a node holds, on its way from a read to a durable outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import Position


@dataclass(slots=True, eq=False)
class Item:
    """One filing of one schedule."""

    owned: OwnedInstance
    row: Row
    needs_look: bool  #: the home row has to be looked at before this filing is sent
    details: Mapping[str, object] | None = None  #: known once it is due
    destination: str = ""

    @property
    def app_id(self) -> str:
        return self.row.place.app_id

    @property
    def schedule_id(self) -> UUID:
        return self.row.schedule.schedule_id

    @property
    def key(self) -> Position:
        return Position(self.row.place.slot_ms, self.schedule_id)


@dataclass(slots=True)
class Tally:
    """What a node has done since it started."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0  #: given up; each is a dead letter
    retried: int = 0
    parked: int = 0  #: filed for later without an attempt
    missed: int = 0
    found_late: int = 0
