"""Whether a node's wall clock can be relied on. Pure: all times are passed in.

Everything is an offset: wall time less boot time. The boot clock is never set, so the offset of a good clock
hardly moves, a jump of the wall clock shows at once, without waiting for anybody's answer, and what a server
said its time was stays comparable afterwards.

The judge holds one offset that it relies on, and judges in two ways:

- *Now*, at every use (`doubt`): the wall clock's offset must lie within `max_skew_ms` of the one relied on.
  So a clock that jumps is in doubt from the first time anybody reads it, and nothing is done by the false
  time.
- *Every second or so* (`look`): the offset is compared with what the servers of the store say. At least
  half of those that answered must agree within the bound, beyond what the way there leaves open: with this
  machine's own word that is a majority, so one server that lies silences nobody, and a node that is off
  cannot rely on itself. Answers that took longer than the bound say too little, and count for nothing.

| the wall clock | is relied on |
|---|---|
| is slewed, or set by less than the bound | all the time |
| jumps, and back, as briefly as may be | not while it is off; the time of before goes on |
| jumps, and the servers agree with it | from the next look on |
| disagrees with the servers, from the start or by and by | not until it agrees |
| jumps, and there is no server to ask (one process) | after `hold_ms` at the new time; not on the way there |
| jumps, and the servers do not answer | not until they do |
| says a year that no id can carry | never |
| the machine was suspended | all the time: the boot clock counted it |

Between two looks the offset relied on stays where it was compared last. So at a look a clock that is relied
on is off the servers' by `max_skew_ms` and half of it for the way there at most, and until the next one by
`max_skew_ms` more: it may just have jumped by less than the bound. Without a server to ask, a clock that
goes wrong slowly, or was wrong at the start, or stays wrong for `hold_ms`, is believed: there is nothing to
tell it by.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.clock import ServerTime
from ringtime_shared.ids import EPOCH_2020_MS, MAX_SLOT_MS

_FURTHEST_MS = 36_601 * 86_400_000  #: that a fire time may lie ahead, and a day
LATEST_MS = MAX_SLOT_MS - _FURTHEST_MS  #: 2059-02; what is created by a later clock might not fit its id
_NOT_COMPARED = "it was not compared with the store's yet"


class ClockJudge:
    """The judge of one wall clock. `offset_ms` is always its wall time less its boot time."""

    def __init__(self, *, max_skew_ms: int, hold_ms: int) -> None:
        self.steps = 0  #: how often another offset came to be relied on
        self._max_skew_ms = max_skew_ms
        self._hold_ms = hold_ms
        self._relied_ms: int | None = None  # the offset relied on; None: none ever was
        self._verdict: str | None = _NOT_COMPARED  # of the last look; None: no objection
        self._held: tuple[int, int] | None = None  # the offset it jumped to, and the boot time it was seen

    def steady_offset_ms(self, offset_ms: int) -> int:
        """Return the offset to go by: the clock's own, unless it jumped away from the one relied on."""
        if self._relied_ms is None or abs(offset_ms - self._relied_ms) <= self._max_skew_ms:
            return offset_ms
        return self._relied_ms

    def doubt(self, offset_ms: int, boot_ms: int) -> str | None:
        """Return why the clock is not to be relied on at this moment; None: it is."""
        implausible = _implausible(offset_ms + boot_ms)
        if implausible is not None:
            return implausible
        if self._relied_ms is not None:
            moved_ms = offset_ms - self._relied_ms
            if abs(moved_ms) > self._max_skew_ms:
                return f"it was set by {_seconds(moved_ms)}, and nothing has confirmed that yet"
        return self._verdict

    def look(self, offset_ms: int, boot_ms: int, servers: Sequence[ServerTime] | None) -> None:
        """Compare the clock with the servers' and decide what to rely on from here on.

        Args:
            servers: what they said just now; empty: the store has no clock of its own; None: it did not
                answer.
        """
        if servers is None or _implausible(offset_ms + boot_ms):
            self._held = None  # nothing is decided in the dark
        elif servers:
            prompt = [each for each in servers if 2 * each.doubt_ms <= self._max_skew_ms]
            if prompt:
                self._compare(offset_ms, prompt)
        else:
            self._verdict = None
            self._hold(offset_ms, boot_ms)

    def _compare(self, offset_ms: int, servers: Sequence[ServerTime]) -> None:
        off = [(offset_ms - each.offset_ms, each) for each in servers]
        disagreeing = [(ms, each) for ms, each in off if abs(ms) - each.doubt_ms > self._max_skew_ms]
        if 2 * len(disagreeing) <= len(servers):
            self._verdict = None
            self._rely_on(offset_ms)
            return
        ms, each = min(disagreeing, key=lambda pair: abs(pair[0]))
        self._verdict = (
            f"it is {_seconds(ms)} off the clock of {each.server}; {len(disagreeing)} of the {len(servers)}"
            " servers of the store that were asked disagree with it"
        )

    def _hold(self, offset_ms: int, boot_ms: int) -> None:
        if self._relied_ms is None or abs(offset_ms - self._relied_ms) <= self._max_skew_ms:
            self._rely_on(offset_ms)
        elif self._held is None or abs(offset_ms - self._held[0]) > self._max_skew_ms:
            self._held = (offset_ms, boot_ms)
        elif boot_ms - self._held[1] >= self._hold_ms:
            self._rely_on(offset_ms)

    def _rely_on(self, offset_ms: int) -> None:
        if self._relied_ms is not None and abs(offset_ms - self._relied_ms) > self._max_skew_ms:
            self.steps += 1
        self._relied_ms = offset_ms
        self._held = None


def _implausible(now_ms: int) -> str | None:
    """A schedule id carries its slot, from 2020 to 2159."""
    if EPOCH_2020_MS <= now_ms <= LATEST_MS:
        return None
    return "it says a year before 2020 or after 2058"


def _seconds(ms: int) -> str:
    return f"{ms / 1_000:+,.1f} s"
