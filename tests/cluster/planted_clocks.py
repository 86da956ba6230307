"""Bugs about clocks put in on purpose: the simulation must find each of them."""

from __future__ import annotations

import pytest

from ringtime_dispatcher.ownership import keeper as owner
from ringtime_dispatcher.ownership.recovery import marks_to_begin_at
from ringtime_ingest.service import commit
from ringtime_shared.clock.judge import ClockJudge
from ringtime_shared.stores.protocol import Marks
from tests.cluster.planted import Plant


def rely_on_every_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClockJudge, "steady_offset_ms", lambda self, offset_ms: offset_ms)
    patch.setattr(ClockJudge, "doubt", lambda self, offset_ms, boot_ms: None)


def notice_a_jump_at_the_next_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClockJudge, "steady_offset_ms", lambda self, offset_ms: offset_ms)
    patch.setattr(ClockJudge, "doubt", lambda self, offset_ms, boot_ms: self._verdict)


def begin_at_the_marks_that_are_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(owner, "marks_to_begin_at", lambda found, **_: found)


def lower_marks_only_to_now(patch: pytest.MonkeyPatch) -> None:
    def lower(found: Marks, *, now_ms: int, most_ahead_ms: int, look_back_ms: int) -> Marks:
        return marks_to_begin_at(found, now_ms=now_ms, most_ahead_ms=most_ahead_ms, look_back_ms=0)

    patch.setattr(owner, "marks_to_begin_at", lower)


def file_above_a_false_seal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commit, "CLOCK_SKEW_MS", 1 << 60)


CLOCK_PLANTS: list[Plant] = [
    rely_on_every_clock,
    notice_a_jump_at_the_next_look,
    begin_at_the_marks_that_are_there,
    lower_marks_only_to_now,
    file_above_a_false_seal,
]

#: The seed to begin at for those that few seeds show: a little before the first that does.
FIRST_SEEDS: dict[Plant, int] = dict.fromkeys(
    (begin_at_the_marks_that_are_there, lower_marks_only_to_now, file_above_a_false_seal), 21
)
