"""Which lines are written: not those that say again what one has said, and not more than so many a second.

What is left out is counted, and told by the next line that is written: of the same, in `repeated`; of any, in
`dropped`. The first of a kind is written at once, unless it is one too many: then the next of it is. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from logging import INFO, LogRecord
from typing import NamedTuple

_MOST_KINDS = 1_000  #: that are remembered; the one that was told longest ago is forgotten first
_OURS = "ringtime"


class Verdict(NamedTuple):
    """What becomes of a line."""

    is_written: bool
    repeated: int = 0  #: how often the same was left out since it was written last
    dropped: int = 0  #: how many lines were left out for their number


class _Kind:
    __slots__ = ("left_out", "told_s")

    def __init__(self, told_s: float) -> None:
        self.told_s = told_s
        self.left_out = 0


class Bounds:
    """The lines of one process. Times in seconds of a clock that never goes back."""

    def __init__(self, quiet_s: float, max_per_second: int) -> None:
        self._quiet_s = quiet_s
        self._most = max_per_second
        self._kinds: dict[Hashable, _Kind] = {}  # told longest ago first
        self._second, self._written = -1, 0
        self._dropped = 0

    def judge(self, record: LogRecord, now_s: float) -> Verdict:
        """Return what becomes of a line at this moment."""
        is_bound = bool(self._quiet_s) and record.levelno >= INFO  # who asks for more wants to see it all
        key = kind_of(record) if is_bound else None
        kind = self._kinds.get(key) if is_bound else None
        if kind is not None and now_s < kind.told_s + self._quiet_s:
            kind.left_out += 1
            return Verdict(is_written=False)
        if int(now_s) != self._second:
            self._second, self._written = int(now_s), 0
        if self._written >= self._most:
            self._dropped += 1
            return Verdict(is_written=False)  # its kind was not told, so the next of it is
        self._written += 1
        dropped, self._dropped = self._dropped, 0
        if is_bound:
            self._remember(key, now_s)
        return Verdict(is_written=True, repeated=0 if kind is None else kind.left_out, dropped=dropped)

    def _remember(self, key: Hashable, now_s: float) -> None:
        self._kinds.pop(key, None)
        if len(self._kinds) >= _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[key] = _Kind(now_s)


def kind_of(record: LogRecord) -> Hashable:
    """Return what lines that say the same have in common: of ours, who says it of what; an error counts by
    its class, since its words may count down. Libraries put numbers among what they speak of, so theirs are
    one by what they say."""
    said = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    who = record.name, record.levelno, said, _place_of(record)
    if not record.name.startswith(_OURS) or not isinstance(record.args, tuple):
        return who
    return who, tuple(
        type(each).__name__ if isinstance(each, BaseException) else str(each) for each in record.args
    )


def _place_of(record: LogRecord) -> Hashable:
    """Return what an exception is, and where it was raised: two bugs are never one."""
    if not isinstance(record.exc_info, tuple) or (trace := record.exc_info[2]) is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return type(record.exc_info[1]).__name__, trace.tb_frame.f_code.co_filename, trace.tb_lineno
