"""Changes of a schedule that has not been sent: what holds, whoever dies, whoever else changes or cancels it.

A change is another schedule under the same id, in a filing of its own: a *changed filing*, whose `Row.change`
names the change. *In force* is the filing that the home row points at; without a pointer, the home row
itself.

    change    the changed filing is durable  ->  the home row points at it  ->  the change is acknowledged
    send      a filing that is no home row is looked at, with its home row, before it is sent

- Of two pointers the one holds that was written later for the first time. One that is written again, because
  its answer was lost, counts as of its first time: who changes what it points at has the last word. Whatever
  points at a filing writes it as one `RowUpdate`, or copies of that, however often.
- The pointer follows the filing. Whoever dies in between leaves what was in force in force.
- A filing is sent only if it is in force, or goes on from one that is: a retry names the change of the filing
  it follows, and may be durable before the home row points at it. So of two changes one is sent, never both.
- A filing that is not in force is not closed before the schedule is over. Its pointer may be under way yet,
  however long whoever writes it is suspended, and might find nothing left to send. It *waits*: for a moment
  where it is, then behind what is in force, filed again. Thus neither is never what comes of it.
- Two filings of a schedule never share a slot, which would make them one key in the store. The home row has
  the one in its id; a change an odd one that it has claimed (`slot_of_change`), also where it has to be
  filed again because it was overtaken; whoever files it again as it is, for another attempt or to wait, an
  even one (`slot_again`), so that none of these can meet a change, however late either is written.
- A change is acknowledged only if its pointer was durable more than `CANCEL_PROMISE_MS` before the slot of
  what was in force. Up to then nobody has read that: see `cancelling`. Else its outcome is unknown.
- Between the read that says what is in force and the moment the pointer is durable somebody else's pointer
  may have come and gone again under this one. What *that* one points at was not sent meanwhile, because a
  changed filing is sent only if it was in force at two looks, `LOOKS_APART_MS` apart, and a change is
  acknowledged only if that time was less than `WINDOW_MS`. A cancel that takes longer looks again what it has
  cancelled.

| crash after | what is sent |
|---|---|
| the changed filing is durable | what was in force; the changed filing waits behind it, and sees itself off |
| the home row points at it | the change; its client knows nothing, and reads the schedule |

Rows do not last longer than they were meant to when they were written, so the home row of one that is changed
to a later time is filed again first, as it was, to be kept as long as the changed one.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from uuid import UUID

from ringtime_shared.ids import home_slot
from ringtime_shared.models.schedule import Row

LOOKS_APART_MS = 250  #: between the two looks at a changed filing
WINDOW_MS = 200  #: less than that: from a read of the home row to a pointer, or a cancel, that rests on it
FRESH_MS = 120_000  #: a pointer that is under way for longer was written by somebody who was suspended
WAIT_MS = 1_000  #: a fresh change that is not in force is looked at again after that
BEHIND_MS = 60_000  #: one that is not fresh waits so long behind what is in force


def slot_of_change(at_ms: int) -> int:
    """Return the first slot from this instant on that a change may claim."""
    return at_ms | 1


def slot_again(schedule_id: UUID, at_ms: int) -> int:
    """Return the first slot from this instant on under which a schedule may be filed again as it is."""
    slot_ms = at_ms + (at_ms & 1)
    return slot_ms + 2 if slot_ms == home_slot(schedule_id) else slot_ms


class Verdict(Enum):
    """What becomes of a filing whose turn it is."""

    SEND = auto()
    CLOSE = auto()  #: the schedule is over, or went on from this filing to a later one
    WAIT = auto()  #: it is not in force now


def needs_pointed(row: Row, home: Row | None) -> bool:
    """Whether only the filing that `home` points at tells what becomes of `row`."""
    return (
        home is not None
        and home.moved_to not in (None, row.place)
        and not (row.is_home or _is_over(row, home))
    )


def judge(row: Row, home: Row | None, pointed: Row | None) -> Verdict:
    """Return what becomes of a filing, given the schedule's home row as it is now.

    Args:
        pointed: the filing that `home` points at, if `needs_pointed`; None: it cannot be read.
    """
    if home is None:
        return Verdict.SEND
    if _is_over(row, home):
        return Verdict.CLOSE
    if _says_how_it_ended(row):
        return Verdict.SEND  # it ends the schedule, whatever the home row points at
    later = home.moved_to
    if later is None:
        return Verdict.SEND if row.change is None else Verdict.WAIT
    if later == row.place:
        return Verdict.SEND
    if row.is_home:
        return Verdict.CLOSE
    if row.change != (None if pointed is None else pointed.change):
        return Verdict.WAIT
    return Verdict.CLOSE if later.slot_ms > row.place.slot_ms else Verdict.SEND


def _is_over(row: Row, home: Row) -> bool:
    """Whether the delivery that `row` is a filing of has ended, or was cancelled. What its receiver said of
    it counts: that was taken before the cancel, or it would have been refused."""
    if home.outcome is not None and home.outcome.replay >= row.replay:
        return True
    return home.cancelled_ms is not None and not _says_how_it_ended(row)


def _says_how_it_ended(row: Row) -> bool:
    return row.schedule.work is not None and row.schedule.work.ended_ms is not None


def is_fresh(row: Row, now_ms: int) -> bool:
    """Whether the pointer to a changed filing may well be under way."""
    return row.change is not None and now_ms - row.change.at_ms < FRESH_MS


def as_shown(home: Row, pointed: Row | None) -> Row:
    """Return a home row with the schedule that is in force.

    Args:
        pointed: the filing at `Row.shown_in`; None: it cannot be read.
    """
    if pointed is not None and pointed.schedule.work is not None:
        return replace(home, schedule=replace(home.schedule, run=pointed.schedule.run))
    if pointed is None or pointed.change is None:
        return home
    return replace(home, schedule=pointed.schedule, change=pointed.change)
