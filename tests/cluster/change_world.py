"""A deployment whose schedules are changed while they come due: to other times, other payloads, to now; by
many at once, who are killed and frozen; and cancelled. Judged by what clients were told and receivers saw."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from uuid import UUID

from ringtime_ingest.service import IngestService, NewSchedule
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_shared.errors import OutcomeUnknown, RingtimeError
from ringtime_shared.models.schedule import Status
from tests.cluster.verifier import ClientEntry
from tests.cluster.world import Plan, World, random_plan

ORIGINAL = "as created"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlan(Plan):
    """What happens in one run; `random_change_plan` draws one from a seed."""

    changes: int = 3  #: of each schedule, at most
    kill_rate: float = 0.1  #: of those who change one
    from_s: float = -2.0  #: changes come from so long before the fire time
    to_s: float = 1.0  #: up to so long after it; `None` of them at any time before
    spread: float = 0.5  #: of them, at any time from the create on


def random_change_plan(rng: Random) -> ChangePlan:
    """Draw the faults of one run."""
    plan = random_plan(rng)
    return ChangePlan(
        schedules=40,
        lead_s=rng.choice([4.0, 12.0]),
        cancel_rate=rng.choice([0.0, 0.1, 0.3]),
        failure_rate=plan.failure_rate,
        outage_s=plan.outage_s,
        crashes=plan.crashes,
        pauses=2 * plan.pauses,
        rates=plan.rates,
        dispatch=plan.dispatch,
        kill_rate=rng.choice([0.0, 0.1, 0.3]),
        wait_s=60,
    )


class Told(Enum):
    """What the client of a change was told."""

    NOTHING = "nothing"  #: the outcome is unknown
    DONE = "done"
    REFUSED = "refused"


@dataclass(slots=True)
class Changed:
    """One change, as its client knows it."""

    payload: str
    fire_ms: int  #: it is not to be sent before
    asked_ms: int
    told_ms: int = 1 << 62
    told: Told = Told.NOTHING


@dataclass(slots=True)
class Story:
    """A schedule and its changes."""

    entry: ClientEntry
    fire_ms: int
    changes: list[Changed] = field(default_factory=list)


class ChangeWorld(World):
    """Build it inside a running virtual loop."""

    plan: ChangePlan

    def __init__(self, seed: int, plan: ChangePlan | None = None) -> None:
        super().__init__(seed, plan or random_change_plan(Random(seed ^ 0xC4A)))
        self.stories: dict[UUID, Story] = {}
        self._found: list[str] = []

    async def run(self) -> list[str]:
        found = await super().run()
        return found + self._found + judge_changes(self)

    async def _be_client(self) -> None:
        """Create a schedule; change it, and perhaps cancel it."""
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, self.plan.load_s))
        service = rng.choice(self._ingest)[1]
        fire_ms = self.now_ms() + int(rng.triangular(0, self.plan.lead_s * 1000, 2_000))
        new = NewSchedule(
            app_id=rng.choice(["pay", "mail"]),
            payload=ORIGINAL,
            fire_ms=fire_ms,
            callback_type="sim",
            callback_details={"to": rng.choice("ab")},
        )
        try:
            row = await service.create_schedule(new)
        except RingtimeError:
            return
        entry = ClientEntry(row.schedule.schedule_id, 0, self.now_ms())  # `judge_changes` knows when
        self.creates.append(entry)
        story = self.stories[entry.schedule_id] = Story(entry, fire_ms)
        changing = [self._change(story) for _ in range(rng.randint(0, self.plan.changes))]
        if rng.random() < self.plan.cancel_rate:
            changing.append(self._cancel(entry))
        await asyncio.gather(*changing)

    async def _change(self, story: Story) -> None:
        rng, plan = self.rng, self.plan
        now_ms, due_s = self.now_ms(), (story.fire_ms - self.now_ms()) / 1_000
        first_s = 0.0 if rng.random() < plan.spread else due_s + plan.from_s
        await asyncio.sleep(max(rng.uniform(first_s, due_s + plan.to_s), 0.0))
        number = len(story.changes)
        now_ms = self.now_ms()
        fire_ms = rng.choice([story.fire_ms, now_ms, now_ms + rng.randint(0, 5_000)])
        changed = Changed(f"change {number}", fire_ms if fire_ms > now_ms else 0, now_ms)
        story.changes.append(changed)
        asked = ScheduleChange(
            payload=changed.payload,
            fire_ms=None if fire_ms == story.fire_ms else max(fire_ms, now_ms),
        )
        if asked.fire_ms is None:
            changed.fire_ms = min([story.fire_ms, *(each.fire_ms for each in story.changes)])
        work = self.spawn(self._tell(rng.choice(self._ingest)[1], story, changed, asked))
        if rng.random() < plan.kill_rate:
            await asyncio.wait([work], timeout=rng.uniform(0.001, 0.05))
            work.cancel()  # kill -9: what it has sent is carried out all the same
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()  # what is no error of ours is a bug

    async def _tell(
        self, service: IngestService, story: Story, changed: Changed, asked: ScheduleChange
    ) -> None:
        try:
            row = await service.change_schedule(story.entry.schedule_id, asked)
        except OutcomeUnknown:
            return
        except RingtimeError:
            changed.told = Told.REFUSED
        else:
            changed.told = Told.DONE
            if row.schedule.payload != changed.payload:
                self._found.append(f"shown as {row.schedule.payload}: {story.entry.schedule_id}")
        changed.told_ms = self.now_ms()

    async def _tear_down(self) -> None:
        await self._look_at_what_is_shown()
        await super()._tear_down()

    async def _look_at_what_is_shown(self) -> None:
        sent = defaultdict(set)
        for send in self.sends:
            sent[send.schedule_id].add(send.payload)
        service = self._ingest[0][1]
        for schedule_id in self.stories:
            row = await service.fetch_schedule(schedule_id)
            is_clear = row.status is Status.SUCCESS and len(sent[schedule_id]) == 1
            if is_clear and sent[schedule_id] != {row.schedule.payload}:
                name = str(schedule_id)[-8:]
                self._found.append(f"shown as {row.schedule.payload}, sent as {sent[schedule_id]}: {name}")


def judge_changes(world: ChangeWorld) -> list[str]:
    """Return what breaks the promise of a change, in words."""
    found = []
    sent: dict[UUID, dict[str, int]] = defaultdict(dict)  # payload -> when it was sent first
    for send in world.sends:
        sent[send.schedule_id].setdefault(send.payload, send.sent_ms)
    for schedule_id, story in world.stories.items():
        name, mine = str(schedule_id)[-8:], sent[schedule_id]
        original = Changed(ORIGINAL, story.fire_ms, 0, story.entry.created_ms, Told.DONE)
        versions = {each.payload: each for each in (original, *story.changes)}
        for payload, at_ms in mine.items():
            if at_ms < versions[payload].fire_ms:
                found.append(f"early: {payload} of {name} by {versions[payload].fire_ms - at_ms} ms")
            if versions[payload].told is Told.REFUSED:
                found.append(f"refused and sent: {payload} of {name}")
        sure = [payload for payload in mine if versions[payload].told is Told.DONE]
        if len(sure) > 1:
            found.append(f"both sent: {sure} of {name}")
        for payload in sure:
            later = [
                each.payload
                for each in story.changes
                if each.told is Told.DONE and each.asked_ms > versions[payload].told_ms
            ]
            if later:
                found.append(f"sent though changed: {payload} of {name}, after which came {later}")
    return found
