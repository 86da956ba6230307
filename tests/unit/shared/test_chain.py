"""What is decided at a run's slot, case by case; tests/property/test_chain.py shows that chains hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.harness.recurring import DAY_MS, checked, every, first_of, new_definition

from ringtime_shared.ids import IdMint, Kind, unpack_id
from ringtime_shared.models.recurring import (
    Definition,
    DefinitionState,
    Misfire,
    Origin,
    Overlap,
    Stage,
)
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.models.times import Exclusions, Spread, Window
from ringtime_shared.recurring.chain import MOST_AT_ONCE, MOST_WALKED, Decision, Found, Step
from ringtime_shared.recurring.run_rows import next_version, run_in

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
SUCCESS = Outcome(status=Status.SUCCESS, ended_ms=START_MS, attempts=1)
DROPPED = Outcome(status=Status.DELETED, ended_ms=START_MS)


def begin(times: Any = None, **others: Any) -> tuple[Definition, Row, Row]:
    """A definition that runs each minute, its check, and its first run, a minute after the start."""
    definition, check = checked(
        new_definition(START_MS, times or every(60), **others), IdMint(1), now_ms=START_MS
    )
    first = first_of(definition, check, START_MS)
    assert first is not None
    return definition, check, first


def take(definition: Definition | None, row: Row, now_ms: int | None = None, *stored: Row) -> Step:
    """Take a step at the row's slot, or at another time, where these rows are stored besides."""
    rows = {each.schedule.schedule_id: each for each in stored}
    decision = Decision(definition, row, now_ms or row.place.slot_ms, 7 * DAY_MS)
    return decision.make({each: Found(rows.get(each)) for each in decision.looks()})


def nominals(rows: Any) -> list[int]:
    """Return which minutes after the start rows are runs of."""
    return [(run_in(row).nominal_ms - START_MS) // MINUTE_MS for row in rows]


def ref(row: Row) -> UUID:
    return row.schedule.schedule_id


def later(step: Step, row: Row) -> Row:
    """Return the filing of a run that waits."""
    assert step.wait_ms is not None
    return replace(
        row, schedule=replace(row.schedule, run=step.run), place=row.place._replace(slot_ms=step.wait_ms)
    )


def test_a_run_is_let_go_and_the_next_one_filed() -> None:
    definition, _, first = begin()
    step = take(definition, first)
    assert (step.run.stage, step.outcome, step.wait_ms, step.missed, step.ends) == (
        Stage.LET_GO,
        None,
        None,
        (),
        False,
    )
    assert nominals(step.files) == [2]
    following = step.files[0]
    parts = unpack_id(following.schedule.schedule_id)
    assert (parts.kind, parts.slot_ms, parts.partition) == (Kind.RUN, START_MS + 2 * MINUTE_MS, 0)
    assert following.is_home
    assert following.schedule.fire_ms == following.place.slot_ms
    assert following.schedule.payload == first.schedule.payload
    assert run_in(following).ordinal == 1


def test_a_calendar_that_is_changed_between_two_takes_of_a_step_forks_no_chain_for_long() -> None:
    definition, _, first = begin()
    shut = Exclusions(spans=((START_MS + 2 * MINUTE_MS, START_MS + 4 * MINUTE_MS),))
    changed = replace(definition, exclusions=shut)
    [second], [fourth] = take(definition, first).files, take(changed, first).files
    assert nominals([second, fourth]) == [2, 4]
    assert [ref(each) for each in take(changed, second).files] == [ref(fourth)]  # and not 3


def test_the_same_step_files_the_same_row_whoever_takes_it_and_when() -> None:
    definition, _, first = begin()
    ids = {
        take(definition, first, first.place.slot_ms + n).files[0].schedule.schedule_id
        for n in (0, 900, 50_000)
    }
    assert len(ids) == 1


def test_a_row_that_was_let_go_is_asked_for_a_cancel_alone() -> None:
    definition, _, first = begin()
    run = replace(run_in(first), stage=Stage.LET_GO)
    gone = replace(first, schedule=replace(first.schedule, run=run))
    assert take(definition, gone, first.place.slot_ms + DAY_MS) == Step(run=run)
    cancelled = take(replace(definition, skipped=(run.nominal_ms,)), gone).outcome
    assert cancelled is not None
    assert (cancelled.status, cancelled.error) == (Status.DELETED, "cancelled")


def test_a_cancelled_run_ends_and_the_chain_goes_on() -> None:
    definition, _, first = begin()
    step = take(replace(definition, skipped=(run_in(first).nominal_ms,)), first)
    assert step.outcome is not None
    assert step.outcome.status is Status.DELETED
    assert nominals(step.files) == [2]


def test_a_check_files_the_first_run_and_is_never_sent() -> None:
    definition, check, first = begin(every(600))
    step = take(definition, check)
    assert step.outcome is not None
    assert [row.schedule.schedule_id for row in step.files] == [first.schedule.schedule_id]


def test_a_check_that_the_definition_does_not_name_files_nothing() -> None:
    definition, _, _ = begin()
    _, other, _ = begin()
    other = replace(
        other,
        schedule=replace(
            other.schedule,
            schedule_id=IdMint(2).mint(slot_ms=other.place.slot_ms, kind=Kind.RUN, partition=0, app_number=0),
        ),
    )
    step = take(definition, other)
    assert step.outcome is not None
    assert step.files == ()


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_check_waits_an_hour_for_its_version(is_stored: bool) -> None:
    definition, _, _ = begin()
    following, check = checked(next_version(definition, START_MS + 10), IdMint(3), now_ms=START_MS + 10)
    assert take(definition, check).wait_ms is not None
    if is_stored:
        assert len(take(following, check).files) == 1
    given_up = take(definition, check, check.schedule.created_ms + 3_600_000)
    assert given_up.outcome is not None
    assert given_up.files == ()


def test_a_run_without_its_definition_ends() -> None:
    _, _, first = begin()
    step = take(None, first)
    assert step.outcome is not None
    assert step.files == ()


def test_after_count_runs_the_definition_ends() -> None:
    definition, _, first = begin(every(60, count=2))
    step = take(definition, first)
    assert not step.ends
    last = take(definition, step.files[0])
    assert last.ends
    assert last.run.stage is Stage.LET_GO
    assert not take(replace(definition, state=DefinitionState.ENDED), step.files[0]).ends


def test_runs_of_an_earlier_version_go_on_up_to_the_next_ones_begin() -> None:
    definition, _, first = begin()
    now_ms = START_MS + 3 * MINUTE_MS + 10
    following = next_version(definition, now_ms, times=every(300))
    step = take(following, first, now_ms)  # nobody was there for two minutes
    assert nominals(step.files) == [2, 3]
    assert [run_in(row).stage for row in step.files] == [Stage.FOLLOWED, Stage.NEW]
    end = take(following, step.files[1], now_ms)
    assert end.run.stage is Stage.LET_GO
    assert end.files == ()
    assert not end.ends


@pytest.mark.parametrize("state", DefinitionState)
def test_a_run_beyond_its_versions_span_ends_and_is_not_followed(state: DefinitionState) -> None:
    definition, _, first = begin()
    step = take(next_version(definition, START_MS + 10, state=state), first)
    assert step.outcome is not None
    assert step.outcome.status is Status.DELETED
    assert (step.files, step.ends) == ((), False)


@pytest.mark.parametrize(
    ("state", "is_made"),
    [(DefinitionState.ACTIVE, True), (DefinitionState.PAUSED, False), (DefinitionState.DELETED, False)],
)
def test_a_pause_holds_for_what_its_window_puts_after_it(state: DefinitionState, is_made: bool) -> None:
    definition, _, first = (
        begin(every(600, window=Window(ms=500_000)), recurring_id=None)
        if False
        else begin(every(600, window=Window(ms=500_000)))
    )
    nominal_ms = run_in(first).nominal_ms
    assert first.place.slot_ms > nominal_ms + 3_000
    step = take(next_version(definition, nominal_ms + 10, state=state), first)
    assert (step.outcome is None) is is_made


class TestStops:
    """A run whose window puts it a while after its nominal time, and a stop in between."""

    @pytest.fixture
    def begun(self) -> tuple[Definition, Row, int]:
        """A definition, its first run, and a moment between the nominal time of that and its slot."""
        definition, _, first = begin(every(600, window=Window(ms=500_000)))
        nominal_ms = run_in(first).nominal_ms
        assert first.place.slot_ms > nominal_ms + 60_000
        return definition, first, nominal_ms + 10

    @pytest.mark.parametrize(
        ("state", "why"), [(DefinitionState.PAUSED, "paused"), (DefinitionState.DELETED, "deleted")]
    )
    @pytest.mark.parametrize("again_ms", [3_000, 3_600_000])
    def test_what_a_stop_has_stopped_is_not_sent_after_it_was_lifted_either(
        self, begun: tuple[Definition, Row, int], state: DefinitionState, why: str, again_ms: int
    ) -> None:
        definition, first, at_ms = begun
        stopped = next_version(definition, at_ms, state=state)
        lifted = next_version(stopped, at_ms + again_ms, state=DefinitionState.ACTIVE)
        edited = next_version(lifted, at_ms + again_ms + 1, payload="2")
        for each in (stopped, lifted, edited):
            for now_ms in (first.place.slot_ms, first.place.slot_ms + 4_000):
                outcome = take(each, first, now_ms).outcome
                assert outcome is not None
                assert (outcome.status, outcome.error) == (Status.DELETED, why)

    @pytest.mark.parametrize(("until_ms", "is_made"), [(-1, True), (0, True), (1, False), (60_000, False)])
    def test_a_pause_until_an_instant_stops_what_comes_due_before_that(
        self, begun: tuple[Definition, Row, int], until_ms: int, is_made: bool
    ) -> None:
        definition, first, at_ms = begun
        until_ms += first.place.slot_ms
        paused, _ = checked(
            next_version(definition, at_ms, paused_until_ms=until_ms, starts_after_ms=until_ms - 1),
            IdMint(3),
            now_ms=at_ms,
        )
        resumed = next_version(paused, at_ms + 2_000, paused_until_ms=None)
        for each in (paused, resumed):
            step = take(each, first, first.place.slot_ms + 4_000)
            assert (step.outcome is None) is is_made
            assert is_made or (step.outcome is not None and step.outcome.error == "paused")

    def test_a_chosen_second_that_was_filed_too_late_is_before_a_stop_behind_its_window(self) -> None:
        window = Window(ms=60_000, spread=Spread.LEAST_LOADED)
        definition, _, first = begin(every(600, window=window))
        end_ms = run_in(first).nominal_ms + 60_000
        run = replace(run_in(first), stage=Stage.PLACED)
        placed = replace(first.schedule, run=run, fire_ms=end_ms - 1_000)
        again = replace(first, schedule=placed, place=first.place._replace(slot_ms=end_ms + 9_000))
        paused = next_version(definition, end_ms, state=DefinitionState.PAUSED)
        assert take(paused, again).run.stage is Stage.LET_GO
        paused = next_version(definition, end_ms - 5_000, state=DefinitionState.PAUSED)
        assert take(paused, again).outcome is not None

    @pytest.mark.parametrize(("window_ms", "is_chosen"), [(2_000, False), (60_000, True)])
    def test_whether_a_second_is_chosen_follows_from_the_plan_and_not_from_who_comes_when(
        self, window_ms: int, is_chosen: bool
    ) -> None:
        window = Window(ms=window_ms, spread=Spread.LEAST_LOADED)
        definition, _, first = begin(every(600, window=window))
        end_ms = run_in(first).nominal_ms + window_ms
        for now_ms in (first.place.slot_ms, end_ms - 1_000, end_ms + 5_000):
            step = take(definition, first, now_ms)
            assert (step.run.stage is Stage.PLACED, step.within is not None) == (is_chosen, is_chosen)
            assert step.within is None or first.place.slot_ms <= step.within[0] < step.within[1] <= end_ms
        late = take(definition, first, end_ms - 1_000).within
        assert late == ((end_ms - 1_000, end_ms - 999) if is_chosen else None)

    def test_what_came_due_before_a_stop_is_made_however_late_it_is_looked_at(
        self, begun: tuple[Definition, Row, int]
    ) -> None:
        definition, first, _ = begun
        paused = next_version(definition, first.place.slot_ms, state=DefinitionState.PAUSED)
        for each in (paused, next_version(paused, paused.from_ms, state=DefinitionState.ACTIVE)):
            assert take(each, first, first.place.slot_ms + 5_000).run.stage is Stage.LET_GO

    def test_a_definition_that_was_deleted_after_its_last_run_stops_nothing(
        self, begun: tuple[Definition, Row, int]
    ) -> None:
        definition, first, at_ms = begun
        edited, _ = checked(next_version(definition, at_ms), IdMint(3), now_ms=at_ms)
        over = replace(edited, state=DefinitionState.DELETED)
        assert take(over, first).run.stage is Stage.LET_GO

    def test_what_somebody_asked_for_is_over_when_its_definition_was_deleted(self) -> None:
        definition, _, first = begin()
        asked = replace(
            first,
            schedule=replace(first.schedule, run=replace(run_in(first), origin=Origin.TRIGGER)),
        )
        paused = next_version(definition, START_MS, state=DefinitionState.PAUSED)
        assert take(paused, asked).run.stage is Stage.LET_GO
        deleted = next_version(definition, START_MS, state=DefinitionState.DELETED)
        for each in (deleted, next_version(deleted, START_MS + 1, state=DefinitionState.ACTIVE)):
            outcome = take(each, asked).outcome
            assert outcome is not None
            assert outcome.error == "deleted"


@pytest.mark.parametrize(
    ("home", "outcome", "filed"),
    [
        (None, None, Stage.LET_GO),  # the version before never had a run of this time
        (DROPPED, None, Stage.LET_GO),
        (SUCCESS, "run by the version before", None),
    ],
)
def test_a_run_that_the_version_before_has_let_go_is_not_made_twice(
    home: Outcome | None, outcome: str | None, filed: Stage | None
) -> None:
    definition, _, first = begin()
    following, check = checked(
        next_version(definition, START_MS + 58_000), IdMint(3), now_ms=START_MS + 58_000
    )
    theirs = first_of(following, check, START_MS)
    assert theirs is not None
    assert run_in(theirs).nominal_ms == run_in(first).nominal_ms
    stored = [] if home is None else [replace(first, outcome=home)]
    step = take(following, theirs, None, *stored)
    assert (step.outcome and step.outcome.error) == outcome
    assert nominals(step.files) == [2]
    assert run_in(step.files[0]).is_contested is (home is SUCCESS)
    if filed:
        assert step.run.stage is filed


def test_a_run_waits_until_it_is_known_whether_the_version_before_lets_its_own_go() -> None:
    definition, _, first = begin()
    following, check = checked(
        next_version(definition, START_MS + 58_000), IdMint(3), now_ms=START_MS + 58_000
    )
    theirs = first_of(following, check, START_MS)
    assert theirs is not None
    step = take(following, theirs, None, first)
    assert step.wait_ms is not None
    assert (step.files, step.run.stage) == ((), Stage.NEW)


@pytest.mark.parametrize(
    ("misfire", "most", "age_ms", "made", "missed"),
    [
        (Misfire.ALL, 100, DAY_MS, [1, 2, 3, 4, 5], []),
        (Misfire.ALL, 2, DAY_MS, [3, 4, 5], [1, 2]),
        (Misfire.ALL, 100, 150_000, [3, 4, 5], [1, 2]),
        (Misfire.ONCE, 100, DAY_MS, [4, 5], [1, 2, 3]),
        (Misfire.SKIP, 100, DAY_MS, [5], [1, 2, 3, 4]),
    ],
)
def test_what_came_due_while_nobody_was_there_is_made_as_the_policy_says(
    misfire: Misfire, most: int, age_ms: int, made: list[int], missed: list[int]
) -> None:
    """Now is 5 minutes and 10 s after the start: runs 1 to 4 are late, 5 is not, and 6 follows it."""
    definition, _, first = begin(misfire=misfire, misfire_most=most, misfire_age_ms=age_ms)
    now_ms = START_MS + 5 * MINUTE_MS + 10_000
    step = take(definition, first, now_ms)
    is_missed = step.outcome is not None
    assert ([1] if is_missed else []) + nominals(row for row, _ in step.missed) == missed
    assert ([] if is_missed else [1]) + nominals(step.files) == made
    assert {outcome.status for _, outcome in step.missed} <= {Status.MISS}
    for row in step.files[:-1]:  # they need not look for what follows, and are made
        assert take(definition, row, now_ms).run.stage is Stage.LET_GO
        assert take(definition, row, now_ms).files == ()
    assert nominals(take(definition, step.files[-1], now_ms).files) == [6]


@pytest.mark.parametrize("misfire", Misfire)
def test_a_step_passes_a_thousand_times_and_the_next_one_goes_on(misfire: Misfire) -> None:
    definition, _, row = begin(misfire=misfire, misfire_most=10)
    now_ms = START_MS + 2_500 * MINUTE_MS + 10_000
    steps, made = 0, list[int]()
    while row.place.slot_ms <= now_ms:
        step = take(definition, row, now_ms)
        steps += 1
        assert len(step.missed) <= MOST_AT_ONCE
        assert len(step.files) <= MOST_AT_ONCE
        made += [] if step.outcome else nominals([row])
        made += nominals(each for each in step.files[:-1])
        row = step.files[-1]
    assert steps < 15
    assert nominals([row]) == [2_501]
    assert run_in(row).ordinal == 2_500
    late = {Misfire.SKIP: [], Misfire.ONCE: [2_499], Misfire.ALL: list(range(2_490, 2_500))}[misfire]
    assert made == [*late, 2_500]


def test_runs_passed_over_beyond_a_hundred_are_counted_in_the_last_record() -> None:
    definition, _, first = begin(misfire=Misfire.SKIP)
    step = take(definition, first, START_MS + 300 * MINUTE_MS + 10_000)
    assert len(step.missed) == MOST_AT_ONCE
    row, outcome = step.missed[-1]
    assert nominals([row]) == [299]
    assert outcome.error.startswith("came due too late, as did 198 before it")
    assert 1 + (MOST_AT_ONCE - 1) + 198 + 1 == 299  # the run itself, those recorded, those counted, the last
    assert MOST_WALKED > 300


class TestOverlap:
    def test_a_run_is_made_when_the_one_before_has_ended(self) -> None:
        definition, _, first = begin(overlap=Overlap.SKIP)
        second = take(definition, first).files[0]
        assert run_in(second).running == ref(first)
        step = take(definition, second, None, replace(first, outcome=SUCCESS))
        assert step.run.stage is Stage.LET_GO
        assert run_in(step.files[0]).running == ref(second)

    def test_skip_passes_over_what_comes_due_meanwhile(self) -> None:
        definition, _, first = begin(overlap=Overlap.SKIP)
        second = take(definition, first).files[0]
        step = take(definition, second, None, first)
        assert step.outcome is not None
        assert (step.outcome.status, step.outcome.error) == (
            Status.MISS,
            "came due while an earlier run had not ended",
        )
        assert run_in(step.files[0]).running == ref(first)

    def test_one_waits_and_others_are_passed_over(self) -> None:
        definition, _, first = begin(overlap=Overlap.BUFFER_ONE)
        second = take(definition, first).files[0]
        step = take(definition, second, None, first)
        third = step.files[0]
        assert (run_in(third).running, run_in(third).buffered) == (ref(first), ref(second))
        waiting = later(step, second)
        assert take(definition, waiting, None, first).wait_ms is not None
        assert take(definition, waiting, None, replace(first, outcome=SUCCESS)).run.stage is Stage.LET_GO
        passed = take(definition, third, None, first, second)
        assert passed.outcome is not None
        assert passed.outcome.status is Status.MISS
        # The first has ended and the second runs by then: the third waits for it.
        waits = take(definition, third, None, replace(first, outcome=SUCCESS), second)
        assert waits.run.running == ref(second)
        ended = replace(second, outcome=SUCCESS)
        assert take(definition, third, None, replace(first, outcome=SUCCESS), ended).wait_ms is None

    def test_a_step_that_is_taken_again_decides_as_before(self) -> None:
        """The row that follows is there, and says what was decided; meanwhile the first has ended."""
        definition, _, first = begin(overlap=Overlap.SKIP)
        second = take(definition, first).files[0]
        third = take(definition, second, None, first).files[0]
        again = take(definition, second, None, replace(first, outcome=SUCCESS), third)
        assert again.outcome is not None
        assert run_in(again.files[0]).running == ref(first)

    @pytest.mark.parametrize(
        ("overlap", "is_running", "is_made"),
        [
            (Overlap.ALLOW, True, True),
            (Overlap.SKIP, True, False),
            (Overlap.SKIP, False, True),
            (Overlap.BUFFER_ONE, True, None),
        ],
    )
    def test_a_run_that_a_client_asks_for_is_in_no_chain(
        self, overlap: Overlap, is_running: bool, is_made: bool | None
    ) -> None:
        definition, _, first = begin(overlap=overlap)
        run = replace(run_in(first), origin=Origin.TRIGGER, running=ref(first))
        asked = replace(first, schedule=replace(first.schedule, run=run))
        step = take(definition, asked, None, first if is_running else replace(first, outcome=SUCCESS))
        assert (None if step.wait_ms else step.outcome is None) is is_made
        assert (step.files, step.ends) == ((), False)

    @pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.BUFFER_ONE])
    def test_one_that_was_asked_for_and_may_never_be_read_is_filed_again_by_who_is_behind(
        self, overlap: Overlap
    ) -> None:
        definition, _, first = begin(overlap=overlap)
        run = replace(run_in(first), origin=Origin.BACKFILL)
        front = replace(first, schedule=replace(first.schedule, run=run))
        run = replace(run, origin=Origin.TRIGGER, running=ref(front))
        behind = replace(first, schedule=replace(first.schedule, run=run))
        moved, long_ms = replace(front, moved_to=front.place), front.place.slot_ms + 61_000
        assert take(definition, behind, front.place.slot_ms + 59_000, front).files == ()
        assert take(definition, behind, long_ms, front).files == (front,)
        assert take(definition, behind, long_ms, moved).files == ()
        assert take(definition, behind, long_ms, first).files == (), "a run of the plan has its chain"
