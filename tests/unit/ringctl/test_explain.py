"""`ringctl explain`: where it is, what has happened, what happens next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_app, make_move, make_row
from tests.unit.ringctl.rig import Rig, make_rig

from ringtime_ringctl.schedules.explain import (
    Facts,
    facts_to_json,
    fetch_facts,
    tell_history,
    tell_next,
    tell_place,
)
from ringtime_ringctl.schedules.records import fetch_filing, parse_id
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.models.app import App, AppConfiguration, Instance
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.recurring import RunOf, Work
from ringtime_shared.models.schedule import Attempt, Change, Outcome, Row, RowUpdate, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER, Shadow
from ringtime_shared.stores.protocol import Marks, MarksWrite

FAILED = Attempt(at_ms=START_MS + 3, took_ms=20, code=503, error="")


class Case:
    """One schedule of one app, owned by n1 unless told otherwise."""

    def __init__(self, rig: Rig, app: App, row: Row) -> None:
        self.rig, self.app, self.row = rig, app, row

    @property
    def schedule_id(self) -> Any:
        return self.row.schedule.schedule_id

    async def update(self, **changes: Any) -> None:
        await self.rig.store.put_updates(
            [RowUpdate(place=self.row.place, schedule_id=self.schedule_id, **changes)]
        )

    async def move(self, slot_ms: int, **changes: Any) -> None:
        moved = replace(make_move(self.row, slot_ms), **changes)
        await self.rig.store.put_rows([moved])
        await self.update(moved_to=moved.place)

    async def mark(self, sealed_ms: int, settled_ms: int) -> None:
        instance = self.row.place.instance
        await self.rig.store.put_marks([MarksWrite(instance, 1 << 60, Marks(sealed_ms, settled_ms))])

    async def facts(self, now_ms: int) -> Facts:
        self.rig.clock.step_wall(now_ms - self.rig.clock.now_ms())
        return await fetch_facts(self.rig.deployment, self.schedule_id)

    async def next_at(self, now_ms: int) -> str:
        return tell_next(await self.facts(now_ms))


async def a_case(*, is_owned: bool = True, sending: Sending | None = None, **app_changes: Any) -> Case:
    rig = make_rig()
    app = await rig.store.create_app(make_app(**app_changes))
    row = make_row(app)
    row = replace(row, schedule=replace(row.schedule, sending=sending))
    await rig.store.put_rows([row])
    if is_owned:
        await (await rig.join("n1")).claim([Instance(app.app_id, n) for n in range(3)])
    return Case(rig, app, row)


def outcome(status: Status, **changes: Any) -> Outcome:
    base = Outcome(
        status=status,
        ended_ms=START_MS + 90,
        fired_ms=START_MS + 50,
        attempts=2,
        code=500,
        took_ms=30,
        log=(FAILED,),
    )
    return replace(base, **changes)


async def test_what_is_to_come() -> None:
    case = await a_case()
    facts = await case.facts(START_MS - 90_000)
    assert tell_next(facts) == f"n1 sends the callback at {to_iso(START_MS)}, in 1 min 30 s."
    assert [event.what for event in tell_history(facts)] == [f"created, to fire at {to_iso(START_MS - 250)}"]
    place = dict(tell_place(facts))
    assert place["owner"] == f"n1, epoch 1 of {case.app.app_id}.0"
    assert "filed again" not in place


async def test_a_change_is_told_and_shown() -> None:
    case = await a_case()
    later = replace(case.row.schedule, fire_ms=START_MS + 60_000)
    change = Change(START_MS - 50_000, 7)
    await case.move(START_MS + 60_000, schedule=later, change=change, attempts=0, log=())
    facts = await case.facts(START_MS - 1_000)
    assert facts.filing.home.schedule == later
    assert tell_next(facts) == f"n1 sends the callback at {to_iso(START_MS + 60_000)}, in 1 min 1 s."
    assert [event.what for event in tell_history(facts)] == [
        "created",
        f"changed, to fire at {to_iso(START_MS + 60_000)}",
    ]


async def test_what_goscheduler_delivers_is_not_said_to_be_sent_from_here() -> None:
    case = await a_case(shadow=Shadow(begun_ms=START_MS - 90_000), sending=Sending(twin="f00"))
    due = to_iso(case.row.schedule.fire_ms)
    told = await case.next_at(START_MS - 60_000)
    assert told.startswith(f"goscheduler delivers it, as f00, due at {due}; n1 notes that then")
    left = Outcome(status=Status.MISS, ended_ms=START_MS, error=LEFT_TO_GOSCHEDULER)
    await case.update(outcome=left)
    facts = await case.facts(START_MS + 1_000)
    assert [event.what for event in tell_history(facts)][1:] == [
        "came due, and was left to goscheduler",
        "recorded as MISS",
    ]
    assert tell_next(facts).startswith("nothing from here: goscheduler delivers it.")


async def test_nobody_owns_it() -> None:
    case = await a_case(is_owned=False)
    assert "nobody owns" in await case.next_at(START_MS - 1_000)


async def test_a_retry_tells_of_the_attempts_before_it() -> None:
    case = await a_case()
    await case.move(START_MS + 4_000, attempts=1, log=(FAILED,))
    facts = await case.facts(START_MS + 1_000)
    assert tell_next(facts) == f"n1 sends attempt 2 at {to_iso(START_MS + 4_000)}, in 3.0 s."
    assert tell_history(facts)[-1] == (FAILED.at_ms, "attempt failed after 20 ms: HTTP 503")
    assert "filed again" in dict(tell_place(facts))


async def test_a_run_that_its_receiver_works_on_is_not_sent_again() -> None:
    case = await a_case()
    work = Work(sent_ms=START_MS, attempt=1, accepted_ms=START_MS + 5, until_ms=START_MS + 4_000)
    run = RunOf(recurring_id=case.schedule_id, version=1, nominal_ms=START_MS, work=work)
    await case.move(START_MS + 9_000, schedule=replace(case.row.schedule, run=run))
    told = tell_next(await case.facts(START_MS + 1_000))
    assert told.startswith("its receiver works on it")
    assert to_iso(START_MS + 4_000) in told
    outcome = Outcome(status=Status.SUCCESS, ended_ms=START_MS + 50, accepted_ms=START_MS + 5)
    await case.update(outcome=outcome)
    events = tell_history(await case.facts(START_MS + 1_000))
    assert (START_MS + 5, "accepted, to be completed later") in events


@pytest.mark.parametrize(
    ("late_ms", "sealed_ms", "settled_ms", "says"),
    [
        (1_000, 0, 0, "in flight"),
        (60_000, 60_000, -1, "in flight, or sent and not recorded yet; due for 1 min"),
        (60_000, -1, -1, "a backlog"),
        (60_000, 60_000, 60_000, "This is a bug"),
    ],
)
async def test_what_is_overdue(late_ms: int, sealed_ms: int, settled_ms: int, says: str) -> None:
    case = await a_case()
    await case.mark(START_MS + sealed_ms, START_MS + settled_ms if settled_ms else START_MS - 1)
    assert says in await case.next_at(START_MS + late_ms)


async def test_a_deactivated_app_and_its_policy() -> None:
    configuration = AppConfiguration(max_lateness_s=30)
    case = await a_case(active=False, configuration=configuration)
    assert "deactivated" in await case.next_at(START_MS)
    assert "MISS if over 30 s late" in await case.next_at(START_MS)


async def test_a_cancelled_schedule() -> None:
    case = await a_case()
    await case.rig.store.put_cancel(case.row.place, case.schedule_id, START_MS - 5_000)
    facts = await case.facts(START_MS - 4_000)
    assert tell_next(facts) == "nothing: it is cancelled and will not fire."
    assert tell_history(facts)[-1].what == "cancelled"


async def test_a_delivered_schedule() -> None:
    case = await a_case()
    await case.update(outcome=outcome(Status.SUCCESS, code=200))
    facts = await case.facts(START_MS + 1_000)
    assert [event.what for event in tell_history(facts)][1:] == [
        "attempt failed after 20 ms: HTTP 503",
        "sent for the 2nd time, answered after 30 ms: HTTP 200",
        "recorded as SUCCESS",
    ]
    assert tell_next(facts).startswith("nothing: it is SUCCESS, and kept until")


async def test_a_dead_letter_and_its_replay() -> None:
    case = await a_case()
    await case.update(outcome=outcome(Status.FAILURE))
    letter = DeadLetter(
        app_id=case.app.app_id,
        schedule_id=case.schedule_id,
        slot_ms=START_MS,
        fire_ms=START_MS,
        failed_ms=START_MS + 91,
        attempts=2,
        callback_type="http",
        expires_ms=START_MS + 1_000_000,
    )
    await case.rig.store.put_dead_letters([letter])
    facts = await case.facts(START_MS + 1_000)
    assert f"ringctl deadletters replay {case.app.app_id} {case.schedule_id}" in tell_next(facts)
    assert tell_history(facts)[-1].what == "became a dead letter after 2 attempts"

    await case.move(START_MS + 60_000, replay=1, attempts=0)
    assert (
        await case.next_at(START_MS + 50_000)
        == f"n1 sends the callback of replay 1 at {to_iso(START_MS + 60_000)}, in 10.0 s."
    )


async def test_json_has_it_all() -> None:
    case = await a_case()
    await case.move(START_MS + 4_000, attempts=1, log=(FAILED,))
    shown = facts_to_json(await case.facts(START_MS))
    assert shown["owner"] == {"node": "n1", "epoch": 1}
    assert shown["pending"]["attempts"] == 1  # type: ignore[index]
    assert "payload" not in shown["schedule"]  # type: ignore[operator]


async def test_what_is_not_there_is_said_to_be_not_there() -> None:
    case = await a_case()
    other = make_row(case.app).schedule.schedule_id
    with pytest.raises(NotFound, match="never acknowledged, or the store has forgotten it"):
        await fetch_filing(case.rig.store, other)
    stranger = make_row(replace(case.app, number=999)).schedule.schedule_id
    with pytest.raises(NotFound, match="no app has number 999"):
        await fetch_filing(case.rig.store, stranger)


@pytest.mark.parametrize("text", ["", "x", "00000000-0000-0000-0000-000000000000", "83b0d6a4"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a schedule id"):
        parse_id(text)
