"""Judge a run by two ledgers: what clients were told, and what receivers saw."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place


@dataclass(slots=True)
class ClientEntry:
    """One create, as its client knows it."""

    schedule_id: UUID
    fire_ms: int
    created_ms: int  #: when the create was acknowledged
    cancel_tried: bool = False
    cancel_promised_ms: int | None = None  #: when a promised cancel was acknowledged
    place: Place | None = None  #: where its row was filed last when the create was acknowledged


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
    payload: str = ""


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


class Trouble(NamedTuple):
    """Why rows may be late, and by how much.

    A row that waited for its sending at some moment from `from_ms` to `until_ms` may be sent up to
    `until_ms`, but no more than `most_ms` after it was due.
    """

    cause: str
    from_ms: int
    until_ms: int
    most_ms: float = math.inf
    slot: tuple[Instance, int] | None = None  #: of this poller instance and slot only; None: of all


def judge_lateness(
    creates: Sequence[ClientEntry], sends: Sequence[Send], troubles: Sequence[Trouble], *, base_ms: int
) -> tuple[list[str], dict[str, int]]:
    """Return every row that was sent later than its troubles explain, in words; and by cause how late, in ms,
    the latest was that had it, `"calm"` for those that had none.

    Args:
        creates: those whose `place` is known are judged.
        base_ms: how late a row may be sent that nothing happened to, after it was due and durable; and how
            long after the end of its troubles.
    """
    first_ms: dict[UUID, int] = {}
    for send in sends:
        first_ms[send.schedule_id] = min(send.sent_ms, first_ms.get(send.schedule_id, send.sent_ms))
    common = sorted((each for each in troubles if each.slot is None), key=lambda each: each.from_ms)
    own: dict[tuple[Instance, int], list[Trouble]] = defaultdict(list)
    for trouble in troubles:
        if trouble.slot is not None:
            own[trouble.slot].append(trouble)
    found: list[str] = []
    worst: dict[str, int] = {}
    for entry in creates:
        sent_ms = first_ms.get(entry.schedule_id)
        if entry.place is None or sent_ms is None:
            continue
        due_ms = max(entry.place.slot_ms, entry.created_ms)
        allowed_ms, causes = due_ms, ["calm"]
        mine = own.get((entry.place.instance, entry.place.slot_ms), [])
        for trouble in sorted([*mine, *common], key=lambda each: each.from_ms):
            until_ms = int(min(trouble.until_ms, due_ms + trouble.most_ms))
            if trouble.from_ms <= allowed_ms + base_ms and until_ms > due_ms:
                causes = [*causes, trouble.cause] if causes != ["calm"] else [trouble.cause]
                allowed_ms = max(allowed_ms, until_ms)
        lag_ms = sent_ms - due_ms
        for cause in causes:
            worst[cause] = max(worst.get(cause, 0), lag_ms)
        if sent_ms > allowed_ms + base_ms:
            name = f"{str(entry.schedule_id)[-8:]} of {entry.place.instance}"
            bound_ms = allowed_ms + base_ms - due_ms
            found.append(f"late: {name} by {lag_ms} ms, due {due_ms}, bound {bound_ms} for {causes}")
    return found, worst
