"""Another id that a schedule answers to: the one it had in the scheduler that it was imported from."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class Alias(NamedTuple):
    """An id of another scheduler, and the schedule that is meant by it here."""

    alias: UUID  #: never of the form of ours
    schedule_id: UUID  #: also says where the home row is filed
    expires_ms: int | None  #: it means nothing any more from then on; None: there is no such time
