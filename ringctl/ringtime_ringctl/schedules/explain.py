"""`ringctl explain`: everything about one schedule."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.snapshot import fetch_claim
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.schedules.lookup import Filing, fetch_filing, parse_id
from ringtime_ringctl.schedules.story import Facts, letter_slots, tell_history, tell_next, tell_place
from ringtime_ringctl.schedules.views import letter_to_json, row_to_json
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import to_iso
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Position

MAX_LETTERS = 5_000  #: of the app, looked through for those of the schedule


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
    """Return the dead letters of all rounds, among the first of the app since the schedule's first slot."""
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
