"""The ledger, against what it should hold counted anew from the states of the items."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.contract.builders import START_MS, make_app, make_move, make_row
from tests.unit.dispatcher.rig import make_owned

from ringtime_dispatcher.delivery.ledger import Item, Ledger, State
from ringtime_shared.models.schedule import Place

pytestmark = pytest.mark.slow

APPS = [make_app(app_id=app_id) for app_id in ("a", "b")]
ROWS = [make_row(app, START_MS + n, n % 2) for app in APPS for n in range(4)]
FILINGS = [*ROWS, *(make_move(row, row.place.slot_ms + 1_000) for row in ROWS)]  # two of each schedule
PROBED = make_app(app_id="probed")
HELD = (State.WAITING, State.UNDER_WAY)
#: From which states each step may be made; from others it raises, and nothing changes.
STEPS = {
    "enter": {State.NEW},
    "begin": {State.WAITING},
    "put_back": {State.UNDER_WAY},
    "settle": {State.UNDER_WAY},
    "leave_open": {State.WAITING, State.UNDER_WAY},
}
MOST = 8


class LedgerMachine(RuleBasedStateMachine):
    """Items of two apps, with two instances each, make steps of any kind in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms_told = 0
        self.ledger = Ledger(MOST, self.hear)
        self.owned = {
            (app.app_id, partition): make_owned(app, partition) for app in APPS for partition in (0, 1)
        }
        self.items: list[Item] = []
        self.locking: set[Item] = set()  # that began to be sent

    def hear(self) -> None:
        self.rooms_told += 1

    @rule(number=st.integers(0, len(FILINGS) - 1))
    def read(self, number: int) -> None:
        """A read, the first or a later one, returns a row."""
        place, schedule_id = FILINGS[number].place, FILINGS[number].schedule.schedule_id
        item = Item(self.owned[place.app_id, place.partition], place, schedule_id)
        is_new = all((each.key, each.owned) != (item.key, item.owned) for each in self.items)
        assert self.ledger.enter(item) is is_new
        assert item.state is (State.WAITING if is_new else State.NEW)
        if is_new:
            self.items.append(item)

    @rule(pick=st.integers(0, 99), is_sent=st.booleans())
    def begin(self, pick: int, is_sent: bool) -> None:
        item = self.pick(pick)
        if item is None or item.state is not State.WAITING:
            return
        rival = any(each.schedule_id == item.schedule_id for each in self.locking)
        begun = self.ledger.begin(item, is_sent=is_sent)
        assert begun is not (rival and is_sent)
        assert item.state is (State.UNDER_WAY if begun else State.WAITING)
        if begun and is_sent:
            self.locking.add(item)

    @rule(pick=st.integers(0, 99), step=st.sampled_from(sorted(STEPS)))
    def step(self, pick: int, step: str) -> None:
        item = self.pick(pick)
        if item is None or (step == "begin" and item.state is State.WAITING):
            return
        before = item.state
        if before not in STEPS[step]:
            with pytest.raises(RuntimeError, match="a bug: cannot"):
                getattr(self.ledger, step)(item)
            assert item.state is before
            return
        getattr(self.ledger, step)(item)
        self.locking.discard(item)

    def pick(self, number: int) -> Item | None:
        return self.items[number % len(self.items)] if self.items else None

    def is_locked(self, schedule_id: UUID) -> bool:
        """Whether one more filing of a schedule, which somebody else's read returned, may not begin."""
        probe = Item(make_owned(PROBED, 0), Place(PROBED.app_id, 0, START_MS), schedule_id)
        assert self.ledger.enter(probe)
        begun = self.ledger.begin(probe)
        self.ledger.leave_open(probe)
        return not begun

    @invariant()
    def an_app_holds_the_room_of_its_items(self) -> None:
        held = [each for each in self.items if each.state in HELD]
        assert self.ledger.held == Counter(each.place.app_id for each in held)

    @invariant()
    def a_schedule_is_locked_by_one_of_its_items(self) -> None:
        locked = Counter(each.schedule_id for each in self.locking)
        assert set(locked.values()) <= {1}
        for item in self.items:
            assert self.is_locked(item.schedule_id) is (item.schedule_id in locked)

    @invariant()
    def an_instance_knows_what_is_open_and_whether_it_is_quiet(self) -> None:
        for owned in self.owned.values():
            of_it = [each for each in self.items if each.owned is owned]
            assert owned.is_quiet is all(each.state is not State.UNDER_WAY for each in of_it)
            for item in of_it:
                assert owned.is_open(item.key) is (item.state is not State.SETTLED)

    def teardown(self) -> None:
        """However it stands, everything can be let go of, and then nothing is held."""
        self.ledger.room("a")
        for item in self.items:
            if item.state in HELD:
                self.ledger.leave_open(item)
        assert not self.ledger.held
        assert not any(self.is_locked(row.schedule.schedule_id) for row in ROWS)
        assert all(owned.is_quiet for owned in self.owned.values())
        assert self.ledger.room("a") == (MOST + 1) // 2


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
