"""Judge a run by two ledgers: what clients were told, and what receivers saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)
class ClientEntry:
    """One create, as its client knows it."""

    schedule_id: UUID
    fire_ms: int
    created_ms: int  #: when the create was acknowledged
    cancel_tried: bool = False
    cancel_promised_ms: int | None = None  #: when a promised cancel was acknowledged


@dataclass(slots=True)
class Send:
    """One attempt, as its receiver saw it."""

    schedule_id: UUID
    sent_ms: int
    attempt: int
    term: int
    accepted: bool  #: the receiver took it
    held: bool  #: the sender owned the poller instance at that moment, or was frozen in the act
    heard: bool = False  #: the answer reached the sender in time


def judge(
    creates: Sequence[ClientEntry],
    sends: Sequence[Send],
    given_up: set[UUID],
    dead: set[UUID],
    *,
    early_ms: int = 0,
) -> list[str]:
    """Return every violation, in words.

    Args:
        creates: the acknowledged ones.
        sends: all attempts, in time order.
        given_up: schedules whose recorded outcome is FAILURE.
        dead: schedules with a dead letter.
        early_ms: how early a send may be by the right time: clocks that are relied on are that much off.
    """
    by_id: dict[UUID, list[Send]] = defaultdict(list)
    for send in sends:
        by_id[send.schedule_id].append(send)
    found = [f"given up without a dead letter: {str(each)[-8:]}" for each in given_up - dead]
    for entry in creates:
        mine = by_id[entry.schedule_id]
        name = str(entry.schedule_id)[-8:]
        delivered = any(send.accepted for send in mine)
        if not delivered and not entry.cancel_tried and entry.schedule_id not in given_up:
            found.append(f"lost: {name} due {entry.fire_ms}, acknowledged {entry.created_ms}")
        if any(send.sent_ms < entry.fire_ms - early_ms for send in mine):
            found.append(f"early: {name} by {entry.fire_ms - min(send.sent_ms for send in mine)} ms")
        cancelled_ms = entry.cancel_promised_ms
        if cancelled_ms is not None and any(send.sent_ms > cancelled_ms for send in mine):
            found.append(f"after cancel: {name} cancelled {cancelled_ms}")
    for schedule_id, mine in by_id.items():
        found += [
            f"without a lease: {str(schedule_id)[-8:]} at {send.sent_ms}" for send in mine if not send.held
        ]
        terms = [send.term for send in mine if send.accepted and send.heard]
        if len(terms) != len(set(terms)):
            found.append(f"duplicate within one term: {str(schedule_id)[-8:]}")
    return found
