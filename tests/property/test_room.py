"""Room in memory, against what they hold counted anew each time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringtime_dispatcher.delivery.ledger import Room

pytestmark = pytest.mark.slow

app_ids = st.sampled_from("abcd")


class RoomMachine(RuleBasedStateMachine):
    """Rows are read while there is room, and let go."""

    @initialize(most=st.integers(1, 40) | st.just(5_000))
    def begin(self, most: int) -> None:
        self.most = most
        self.room = Room(most)
        self.held = Counter[str]()
        self.refused: set[str] = set()

    @property
    def free(self) -> int:
        return self.most - self.held.total()

    @rule(app_id=app_ids, share=st.floats(0, 1))
    def read(self, app_id: str, share: float) -> None:
        """Take some of the room, or all."""
        held = self.held[app_id]
        room = self.room.of(app_id)
        assert (room > 0) is (held < self.free)
        if not room:
            self.refused.add(app_id)
        wanted = room if share == 1 else int(room * share)
        for _ in range(wanted):
            self.room.add(app_id)
            self.held[app_id] += 1
        assert self.held[app_id] <= max(held, self.free + 1), "as many as are free"
        if wanted == room:
            assert self.held[app_id] >= self.free, "all that it may have"

    @precondition(lambda self: self.held)
    @rule(app_id=app_ids, count=st.integers(1, 40))
    def let_go(self, app_id: str, count: int) -> None:
        for _ in range(min(count, self.held[app_id])):
            self.held[app_id] -= 1
            goes_on = app_id in self.refused and 2 * self.held[app_id] <= self.free
            assert self.room.remove(app_id) is goes_on
            if goes_on:
                self.refused.clear()
                assert self.room.of(app_id) > 0

    @invariant()
    def a_newcomer_finds_room(self) -> None:
        """Each app leaves at least half of what it found."""
        holders = sum(count > 0 for count in self.held.values())
        assert self.free >= self.most >> holders

    @invariant()
    def it_is_short_while_somebody_waits(self) -> None:
        assert self.room.is_short is bool(self.refused)

    def teardown(self) -> None:
        if hasattr(self, "room"):
            for app_id in "abcd":
                self.let_go(app_id, self.held[app_id])
            assert not self.room.held
            assert self.free == self.most


TestRoom = RoomMachine.TestCase
TestRoom.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
