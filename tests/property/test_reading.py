"""What is known of a bucket, and the agenda made of it: no slot is forgotten, nothing is read for nothing."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.builders import BUCKET, START_MS, make_app
from tests.unit.dispatcher.rig import make_owned

from ringtime_dispatcher.ownership import minute as module
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.ownership.minute import Minute
from ringtime_dispatcher.reading.polling import Agenda
from ringtime_shared.buckets import last_slot
from ringtime_shared.stores.protocol import LAST_ID, Position

END_MS = last_slot(BUCKET)
FEW = 4  #: slots known at a time here, so that cuts are met
APP = make_app(polled=50, writable=50)

offsets = st.integers(0, 59_999) | st.integers(0, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.lists(offsets, min_size=1, max_size=6)),
        st.tuples(st.just("file twice"), st.lists(offsets, min_size=1, max_size=2)),
        st.tuples(st.just("look"), st.integers(1, 5)),
        st.tuples(st.just("read"), offsets),
        st.tuples(st.just("forget"), st.none()),
    ),
    max_size=40,
)


class Model:
    """A bucket, the rows that are in the store, and those that were read."""

    def __init__(self, filed: list[int]) -> None:
        self.minute = Minute(BUCKET, START_MS - 1)
        self.rows: list[Position] = []
        self.unread: set[Position] = set()
        self.passed: set[Position] = set()  # filed behind the front
        self.reads = 0
        for offset in filed:
            self.put(offset)

    def put(self, offset: int) -> None:
        row = Position(START_MS + offset, UUID(int=len(self.rows)))
        insort(self.rows, row)
        (self.unread if row > self.minute.front else self.passed).add(row)

    def file(self, slots: list[int], times: int = 1) -> None:
        for offset in slots:
            self.put(offset)
        for _ in range(times):
            self.minute.expect(sorted({START_MS + offset for offset in slots}))

    def page(self, after: Position, upto_ms: int, limit: int) -> tuple[list[Position], Position | None]:
        rows = [row for row in self.rows if after < row and row.slot_ms <= upto_ms][:limit]
        return rows, rows[-1] if len(rows) == limit else None

    def look(self, limit: int) -> None:
        rows, cut = self.page(self.minute.look_from(), END_MS, limit)
        self.minute.learn(rows, cut)

    def read(self, upto_ms: int) -> None:
        while (next_ms := self.minute.next_ms()) is not None and next_ms <= upto_ms:
            rows, cut = self.page(self.minute.front, upto_ms, 3)
            self.reads += 1
            self.unread -= set(rows)
            self.minute.set_front(cut or Position(upto_ms, LAST_ID))

    def play(self, plan: list[tuple[str, object]]) -> Iterator[None]:
        for step, argument in plan:
            if step == "file":
                self.file(argument)  # type: ignore[arg-type]
            elif step == "file twice":
                self.file(argument, 2)  # type: ignore[arg-type]
            elif step == "look":
                self.look(argument)  # type: ignore[arg-type]
            elif step == "read":
                self.read(START_MS + argument)  # type: ignore[operator]
                assert all(row.slot_ms > START_MS + argument for row in self.unread)  # type: ignore[operator]
            else:
                self.minute.forget()
            yield


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS_KNOWN", FEW)


@pytest.mark.slow
@given(st.lists(offsets, max_size=12), steps)
@settings(max_examples=400)
def test_every_row_that_was_there_or_was_announced_is_read_when_it_is_due(
    filed: list[int], plan: list[tuple[str, object]]
) -> None:
    model = Model(filed)
    for _ in model.play(plan):
        assert len(model.minute._ahead) <= FEW
        assert not Counter(model.minute.sure_ahead()) - Counter(model.minute.slots_ahead())
        oldest = min((row.slot_ms for row in model.unread), default=None)
        next_ms = model.minute.next_ms()
        if oldest is not None:
            assert next_ms is not None
            assert next_ms <= oldest
    model.read(END_MS)
    assert not model.unread
    assert model.minute.next_ms() is None


@given(st.lists(offsets, max_size=FEW - 1), st.lists(offsets, max_size=10))
def test_what_is_known_is_read_once_a_slot_and_nothing_else_is(filed: list[int], ticks: list[int]) -> None:
    model = Model(filed)
    model.look(FEW)
    assert model.minute.next_ms() == min((row.slot_ms for row in model.rows), default=None)
    assert not model.minute.needs_look
    for offset in sorted(ticks):
        due = any(row.slot_ms <= START_MS + offset for row in model.unread)
        before = model.reads
        model.read(START_MS + offset)
        assert (model.reads > before) is due


@given(st.lists(offsets, max_size=1), st.lists(offsets, min_size=2, max_size=2))
def test_a_row_that_was_announced_and_is_looked_at_is_known_once(
    filed: list[int], announced: list[int]
) -> None:
    model = Model(filed)
    model.file(announced, 2)
    model.look(FEW)
    assert [*model.minute.slots_ahead()] == [row.slot_ms for row in model.rows]
    assert [*model.minute.sure_ahead()] == [row.slot_ms for row in model.rows]


@given(st.integers(2, FEW - 1), st.integers(1, FEW), st.booleans())
def test_rows_of_one_slot_that_two_looks_find_are_known_each(
    rows: int, page: int, is_announced: bool
) -> None:
    model = Model([7] * rows)
    if is_announced:
        model.minute.expect([START_MS + 7])
    for _ in range(rows):
        model.look(page)
    assert [*model.minute.sure_ahead()] == [START_MS + 7] * rows
    assert rows <= len([*model.minute.slots_ahead()]) <= rows + is_announced


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 49), st.lists(offsets, min_size=1, max_size=4), st.integers(0, 59_999)),
        max_size=60,
    )
)
def test_the_agenda_returns_whoever_has_something_due_oldest_first_and_nobody_else(
    plan: list[tuple[int, list[int], int]],
) -> None:
    agenda, owned = Agenda(), [make_owned(APP, n, settled_ms=START_MS - 1) for n in range(50)]
    for number, slots, offset in plan:
        each, horizon_ms = owned[number], START_MS + offset
        each.expect(sorted({START_MS + slot for slot in slots}), is_first=True)
        agenda.file(each)
        due = agenda.take_due(horizon_ms, 1_000)
        nexts = [_next(one) for one in due]
        assert nexts == sorted(nexts)
        assert set(due) == {one for one in owned if one.has_rows and _next(one) <= horizon_ms}
        for one in due:
            one.set_front(BUCKET, Position(horizon_ms, LAST_ID))
            agenda.file(one)
        assert len(agenda) == sum(one.next_ms() is not None for one in owned)


def _next(owned: OwnedInstance) -> int:
    next_ms = owned.next_ms()
    return 1 << 62 if next_ms is None else next_ms
