"""`ringctl explain`: where a schedule is, what has happened, what happens next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_claim
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.schedules.records import Filing, fetch_filing, letter_to_json, parse_id, row_to_json
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import count_of, to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.coordination.protocol import Claim
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Attempt, Outcome, Row, Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER, Side, side_of
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks, Position

IN_FLIGHT_MS = 5_000  #: how long after its slot an unrecorded delivery is nothing to wonder at
MAX_LETTERS = 5_000  #: of the app, looked through for those of the schedule


class Event(NamedTuple):
    """Something that happened."""

    at_ms: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known. The marks were read before the rows."""

    filing: Filing
    claim: Claim | None  #: of the poller instance of the pending filing
    marks: Marks | None  #: of the same
    letters: Sequence[DeadLetter]
    now_ms: int

    @property
    def pending(self) -> Row:
        """The filing that is to fire, or was the last to."""
        return self.filing.pending or self.filing.home

    @property
    def is_open(self) -> bool:
        """Whether something is still to happen: no outcome, or a replay that is newer than it."""
        home = self.filing.home
        if home.outcome is None:
            return home.cancelled_ms is None
        return self.pending.is_live and self.pending.replay > home.outcome.replay


def tell_place(facts: Facts) -> list[tuple[str, str]]:
    """Return where the schedule is filed, and who looks after it."""
    parts, home, pending = facts.filing.parts, facts.filing.home, facts.pending
    place = pending.place
    lines = [
        ("id says", f"app number {parts.app_number}, partition {parts.partition}, {to_iso(parts.slot_ms)}"),
        ("home row", f"{home.place.instance}, bucket {home.place.bucket}, slot {to_iso(home.place.slot_ms)}"),
    ]
    if pending is not home:
        lines.append(
            ("filed again", f"{place.instance}, bucket {place.bucket}, slot {to_iso(place.slot_ms)}")
        )
    owner = "nobody" if facts.claim is None else f"{facts.claim.node}, epoch {facts.claim.epoch}"
    lines.append(("owner", f"{owner} of {place.instance}"))
    if facts.marks is not None:
        sealed, settled = (to_iso(ms) for ms in facts.marks)
        lines.append(("marks", f"sealed {sealed}, settled {settled}"))
    return lines


def tell_history(facts: Facts) -> list[Event]:
    """Return what has happened, oldest first."""
    home = facts.filing.home
    schedule, outcome = home.schedule, home.outcome
    if home.change is None:
        events = [Event(schedule.created_ms, f"created, to fire at {to_iso(schedule.fire_ms)}")]
    else:
        events = [
            Event(schedule.created_ms, "created"),
            Event(home.change.at_ms, f"changed, to fire at {to_iso(schedule.fire_ms)}"),
        ]
    log = facts.pending.log if outcome is None or facts.is_open else outcome.log
    events += [Event(attempt.at_ms, _tell_attempt(attempt)) for attempt in log]
    if home.cancelled_ms is not None:
        events.append(Event(home.cancelled_ms, "cancelled"))
    if outcome is not None:
        events += _tell_outcome(outcome)
    for letter in facts.letters:
        events.append(
            Event(letter.failed_ms, f"became a dead letter after {count_of(letter.attempts, 'attempt')}")
        )
        if letter.replayed_ms is not None:
            events.append(Event(letter.replayed_ms, "the dead letter was filed again"))
    return sorted(events, key=lambda event: event.at_ms)  # stable: the order above among equals


def tell_next(facts: Facts) -> str:
    """Return what happens next, in a sentence or two."""
    home, app = facts.filing.home, facts.filing.app
    if not facts.is_open:
        return _tell_end(home)
    row = facts.pending
    place, late_ms = row.place, facts.now_ms - row.place.slot_ms
    what = f"attempt {row.attempts + 1}" if row.attempts else "the callback"
    what += f" of replay {row.replay}" if row.replay else ""
    if not app.active:
        policy = app.configuration.max_lateness_s
        after = "it fires then" if policy is None else f"it fires then, or is MISS if over {policy:,} s late"
        return f"{app.app_id} is deactivated: nothing until it is activated again; {after}."
    if place.partition >= app.polled:
        return f"{place.instance} is not polled: {app.app_id} has {app.polled:,} partitions. This is a bug."
    if facts.claim is None:
        return f"nobody owns {place.instance}: {what} waits until a node does. `ringctl doctor` says more."
    node, work = facts.claim.node, row.schedule.work
    if late_ms < 0 and work is not None and work.until_ms is not None and work.ended_ms is None:
        return (
            f"its receiver works on it, and says when it is done; if not until {to_iso(work.until_ms)},"
            f" {node} records it as FAILURE a moment later."
        )
    sending = row.schedule.sending
    if sending is not None and sending.twin and side_of(app.shadow, row.schedule.fire_ms) is Side.GOSCHEDULER:
        return (
            f"goscheduler delivers it, as {sending.twin}, due at {to_iso(row.schedule.fire_ms)};"
            f" {node} notes that then, and sends nothing."
        )
    if late_ms < 0:
        return f"{node} sends {what} at {to_iso(place.slot_ms)}, in {to_span(-late_ms)}."
    sealed_ms, settled_ms = facts.marks or Marks(0, 0)
    if settled_ms >= place.slot_ms:
        return f"`settled` has passed the slot, but there is no outcome. This is a bug; keep {home.place}."
    if late_ms < IN_FLIGHT_MS or sealed_ms >= place.slot_ms:
        return f"{node} has {what} in flight, or sent and not recorded yet; due for {to_span(late_ms)}."
    return (
        f"{what} is due for {to_span(late_ms)} and waits at {node}, which has sealed up to"
        f" {to_iso(sealed_ms)}: a backlog, a cap of the app, or a destination that is left alone."
    )


def _tell_end(home: Row) -> str:
    outcome = home.outcome
    if outcome is None:
        return "nothing: it is cancelled and will not fire."
    schedule = home.schedule
    if outcome.error == LEFT_TO_GOSCHEDULER:
        return (
            f"nothing from here: goscheduler delivers it. `ringctl shadow report {schedule.app_id}` compares."
        )
    if outcome.status is Status.FAILURE and home.cancelled_ms is None:
        return (
            "nothing by itself: it was given up."
            f" `ringctl deadletters replay {schedule.app_id} {schedule.schedule_id}` files it again."
        )
    return f"nothing: it is {outcome.status.value}, and kept until {to_iso(schedule.expires_ms)}."


def _tell_attempt(attempt: Attempt) -> str:
    return f"attempt failed after {attempt.took_ms:,} ms{_why(attempt.code, attempt.error)}"


def _tell_outcome(outcome: Outcome) -> list[Event]:
    events = []
    if outcome.error == LEFT_TO_GOSCHEDULER:
        events.append(Event(outcome.ended_ms, "came due, and was left to goscheduler"))
    if outcome.fired_ms is not None:
        took = "" if outcome.took_ms is None else f", answered after {outcome.took_ms:,} ms"
        sent = f"sent for the {_ordinal(outcome.attempts)} time{took}{_why(outcome.code, outcome.error)}"
        events.append(Event(outcome.fired_ms, sent))
    if outcome.accepted_ms is not None:
        events.append(Event(outcome.accepted_ms, "accepted, to be completed later"))
    which = f" (replay {outcome.replay})" if outcome.replay else ""
    return [*events, Event(outcome.ended_ms, f"recorded as {outcome.status.value}{which}")]


def _why(code: int | None, error: str) -> str:
    reasons = [text for text in ("" if code is None else f"HTTP {code}", error) if text]
    return f": {', '.join(reasons)}" if reasons else ""


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def letter_slots(filing: Filing) -> tuple[int, int]:
    """Return the first and the last slot under which dead letters of the schedule may be kept: each filing
    has a later slot than the one before, but the first of a change to an earlier time."""
    home = filing.home
    first_ms = home.place.slot_ms if home.change is None else home.change.at_ms
    return min(first_ms, home.place.slot_ms), (home.moved_to or home.place).slot_ms


@click.command("explain", cls=RingctlCommand)
@click.argument("schedule_id", metavar="ID")
@deployed
async def explain(deployment: Deployment, output: Output, schedule_id: str) -> None:
    """Tell where a schedule is filed, who owns it, what has happened, and what happens next.

    \b
    Examples:
      ringctl explain 83b0d6a4-3f80-8001-8000-000028000001
    """
    facts = await fetch_facts(deployment, parse_id(schedule_id))
    if output.is_json:
        output.data(facts_to_json(facts))
        return
    home = facts.filing.home
    output.line(f"{home.schedule.schedule_id} of {home.schedule.app_id}: {home.status.value}")
    output.line()
    output.table((Column("WHERE"), Column("", folds=True)), tell_place(facts))
    output.line()
    events = [(to_iso(event.at_ms), event.what) for event in tell_history(facts)]
    output.table((Column("WHEN"), Column("WHAT", folds=True)), events)
    output.line()
    output.line(f"Next: {tell_next(facts)}")


async def fetch_facts(deployment: Deployment, schedule_id: UUID) -> Facts:
    """Read all there is. Raises NotFound, StoreUnavailable."""
    filing = await fetch_filing(deployment.store, schedule_id)
    instance = (filing.pending or filing.home).place.instance
    claim = await fetch_claim(deployment, instance)
    marks = (await deployment.store.fetch_marks([instance])).get(instance, DAMAGED_MARKS)
    # Again, after the marks: an outcome that was recorded in between is no contradiction to them.
    filing = await fetch_filing(deployment.store, schedule_id)
    return Facts(
        filing=filing,
        claim=claim,
        marks=None if marks == DAMAGED_MARKS else marks,
        letters=await _fetch_letters(deployment, filing),
        now_ms=deployment.clock.now_ms(),
    )


async def _fetch_letters(deployment: Deployment, filing: Filing) -> list[DeadLetter]:
    """Return the dead letters of a schedule and its replays, among the first of the app."""
    schedule = filing.home.schedule
    first_ms, last_ms = letter_slots(filing)
    after = Position(first_ms, UUID(int=schedule.schedule_id.int - 1))
    letters = await deployment.store.fetch_dead_letters(schedule.app_id, after, last_ms, MAX_LETTERS)
    return [letter for letter in letters if letter.schedule_id == schedule.schedule_id]


def facts_to_json(facts: Facts) -> Mapping[str, object]:
    """Return the explanation for `--json`."""
    pending = facts.filing.pending
    claim, marks = facts.claim, facts.marks
    return {
        "schedule": row_to_json(facts.filing.home),
        "pending": None if pending is None else row_to_json(pending),
        "owner": None if claim is None else {"node": claim.node, "epoch": claim.epoch},
        "marks": None if marks is None else {"sealed": to_iso(marks[0]), "settled": to_iso(marks[1])},
        "deadLetters": [letter_to_json(each) for each in facts.letters],
        "history": [{"at": to_iso(event.at_ms), "what": event.what} for event in tell_history(facts)],
        "next": tell_next(facts),
    }
