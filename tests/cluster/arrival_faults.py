"""What may happen to an announcement: it is seen late, never, or again and again.

What happens to one does not depend on who reads it and when, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from zlib import crc32

from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import Arrival


@dataclass(frozen=True, slots=True)
class ArrivalRates:
    """Chances of each arrival."""

    lost: float = 0.0
    late: float = 0.0
    late_ms: int = 400  #: those that are late are so by up to this
    doubled: float = 0.0


class ArrivalFaults:
    """Stands between the store and whoever reads arrivals."""

    def __init__(self, seed: int, rates: ArrivalRates) -> None:
        self.kept_back: dict[tuple[Instance, int], int | None] = {}
        """Until when a slot of a poller instance was kept from readers; None: for ever."""
        self.repeated_ms = 5_000 if rates.doubled else 0
        self._seed = seed
        self._rates = rates
        self._fates: dict[Arrival, tuple[bool, int | None]] = {}

    def shown(self, arrivals: Iterable[Arrival], *, after_ms: int, now_ms: int) -> list[Arrival]:
        """Return those that a reader sees who asks now for what was stamped later than `after_ms`.

        Args:
            arrivals: those of `repeated_ms` before that, too.
        """
        seen = []
        for arrival in arrivals:
            is_doubled, kept_until_ms = self._fate(arrival)
            if arrival.written_ms > after_ms or is_doubled:
                if kept_until_ms is None or kept_until_ms > now_ms:
                    self.kept_back |= {
                        (arrival.instance, slot_ms): kept_until_ms for slot_ms in arrival.slots
                    }
                else:
                    seen += [arrival, arrival] if is_doubled else [arrival]
        return seen

    def _fate(self, arrival: Arrival) -> tuple[bool, int | None]:
        """Return whether it is told again, and until when it is kept back: the same at each look."""
        if arrival not in self._fates:
            fate = Random(crc32(f"{self._seed} {arrival}".encode()))
            is_doubled = fate.random() < self._rates.doubled
            self._fates[arrival] = is_doubled, self._kept_until_ms(arrival, fate)
        return self._fates[arrival]

    def _kept_until_ms(self, arrival: Arrival, fate: Random) -> int | None:
        if fate.random() < self._rates.lost:
            return None
        is_late = fate.random() < self._rates.late
        return arrival.written_ms + (fate.randint(1, self._rates.late_ms) if is_late else 0)
