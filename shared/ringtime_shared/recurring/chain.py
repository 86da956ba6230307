"""How the runs of a recurring schedule follow one another: what is decided at a run's slot. Pure.

A definition is in the store, and each run is an ordinary row. What a definition says changes by *versions*;
each has a span of nominal times, and each is a chain of its own:

    version 1:  check - run - run - run - (run)           a check is "run zero": never sent, filed before
                                |  <- from_ms of 2        the version is stored, so that a chain is begun
    version 2:                check - run - run - ...     whoever dies meanwhile

Whoever owns a run's row takes one *step* with it at its slot, before anything else is done with it: it reads
the definition, files what follows, and only when that is durable goes on with the row itself. `Decision` says
what the step does.

Invariant. For each version of a definition whose span has nominal times yet to come there is, from the moment
it is stored, a live row of it in the store (its check, or the oldest of its runs that are not followed yet).
And each nominal time n has one run: that of the version whose span it lies in (`from(v) < n <= from(v + 1)`),
or, where a write of version v + 1 took so long that v followed its run of n before it could know, that one.

| what fails | what happens |
|---|---|
| the owner dies before what follows is durable | the next one takes the step again, and files the same rows |
| it dies after that | the row is a row: it is sent, once more if need be; its step finds all filed |
| two owners take one step (one was suspended) | as above: they file the same rows |
| who changes a definition dies before it is stored | his check waits for an hour, then ends |
| he dies after that | the check comes due, and files the first run |
| two change it at once | one is refused; the definition does not name his check, which ends |
| a change is stored during a step | the run followed is the old version's; the new one's of that time ends |
| the same, and the owner dies before that run is recorded | the next one finds it followed, and lets it go |
| the same, and what follows is stored later than that | it is not followed: the new version's is the run |
| the dispatchers were away | runs are made late or recorded MISS, as the definition's misfire policy says |
| there were too many versions since a run was filed | the run ends, as superseded |
| the owner dies between a run's chosen second and the pointer to it | the next one files it for that second |
| two owners choose a second, and a pause lies between | one choice stands, and both go by that |
| a pause or a cancel is stored before the chosen second | the run ends there |
| a run that a pause stops is looked at after the resume | it ends all the same: versions remember it |
| the dispatchers were away at the chosen second | it is judged by the misfire policy, as of that second |
| who asks for a run dies before it is sure to be read | who is in line behind it files it again |
| a calendar is changed | it counts from the next run that is filed |
| and then a step is taken again | it may file another run: both are followed, by one chain again |
| and, in that second, the definition | a run that was let go then may come again, as the new version's |
| a definition cannot be read | its run is recorded as a failure; its chain ends: `ringctl doctor` says so |

Proof sketch. *A chain goes on*: a step names, for each run that is not followed, the next nominal time of the
run's own version, unless that lies outside its span or there is none. The row of it is durable, and sure to
be read, before the run's own is let go of. The times of a version never change, so whoever asks gets the same
one, unless a calendar of theirs did. *A chain begins*: its check is durable before the definition names it,
and does not settle before it has seen a definition of its version or a later one.

*A nominal time has one run*: within a version, by the run's id. Between v and w = v + 1, whose span n lies
in: v's run of n *stands*, and w's ends, if what follows v's is stored; else v's ends, as superseded.

- v's run may be let go only if it stands: what follows it is durable before that, and is filed by its own
  step alone, which read the definition before w was stored. So whoever takes the step anew, finds it so.
- Two decide alike: w's run ends only where v's stands or has ended otherwise, which lasts; it goes on only
  where v's is superseded, or not there. It waits while v's is there and neither. What follows v's run may
  still be stored after that was found superseded, by a write on its way of an owner who is gone: such a one
  lets nothing go, and the run that came too late is followed by nothing, so it is superseded as well.
- v's run of n that is not there when w's comes due is never let go: it would have been in the store before
  its step, that before w, and w's runs are filed after w.
- The rows of v beyond its span have no gap, so w looks no more once one of them is missing or superseded.
- Runs that one step files several of at once are followed without a step of their own. They stand wherever
  they are, so they must not be stored when w's have been made: they are more than a minute late, which no
  change on its way is. Younger ones are filed one by one.

*A second that is chosen* (`Spread.LEAST_LOADED`) is no part of a run's identity. The home row's slot, and
with it the id, is a function of the definition as ever, early in the window; the step is taken there, and
what follows is filed. Then a second is chosen and claimed (`ClaimKind.SECOND`), the run filed again for it,
and the home row points there, as with one that waits. The claim is written once: whoever takes the step
again finds it, and goes by that second. So what stops a run, which is what was stored before its second, is
the same for all, however late a filing of one who was suspended appears beside another that was sent. Who is
too late for a choice takes the second that it is, if none is claimed. Where a window is too short for anyone
to choose, which follows from the plan, nobody does, and the home row's slot is what counts. The second lies
before the slot of the run that follows: runs keep their order.

Between v and v + 2 nothing can be in the way: `from_ms` is a second later than the clock at the change, which
is more than clocks differ while nobody doubts them, and that change had read v + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from ringtime_shared.ids import home_slot
from ringtime_shared.models.recurring import (
    Definition,
    DefinitionState,
    Misfire,
    Origin,
    Overlap,
    RunOf,
    Stage,
)
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.models.times import Run, Spread
from ringtime_shared.recurring.completing import GRACE_MS, completion_ms_of, outcome_of_work
from ringtime_shared.recurring.run_rows import (
    Span,
    id_of,
    index_of,
    next_run,
    row_of,
    run_in,
    run_of,
    span_of,
)

#: A run whose step comes later than that is one that the misfire policy is about; and no change of a
#: definition is on its way for longer.
LATE_MS = 60_000
MOST_WALKED = 1_000  #: nominal times that one step passes; the next one goes on
MOST_AT_ONCE = 100  #: runs that one step files, and runs passed over that it records singly
PLACE_AHEAD_MS = 1_500  #: from a step to the first second that may be chosen: what writing it may take
_LEAST_CHOICE_MS = 1_000  #: a range that is shorter is no choice
_CHECK_GIVEN_UP_MS = 3_600_000  #: a change that was not stored by then never will be
_TOO_LATE, _OVERLAP = "came due too late", "came due while an earlier run had not ended"
_SUPERSEDED, _CANCELLED = "superseded by a later version", "cancelled"
_PAUSED, _DELETED = "paused", "deleted"
_LOOK_AGAIN_MS = (1_000, 60_000)  #: what waits is looked at again after a quarter of its wait, within these


class Found(NamedTuple):
    """What is stored of a run."""

    home: Row | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.home is None or self.home.outcome is not None or self.home.cancelled_ms is not None

    @property
    def is_superseded(self) -> bool:
        """Whether it is not, and never will be, its time's run."""
        if self.home is None:
            return True
        end = self.home.outcome
        return end is not None and end.status is Status.DELETED and end.error != _CANCELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done with a filing of a run, once `missed` and then `files` are durable."""

    run: RunOf  #: as it goes on
    outcome: Outcome | None = None  #: how it ends without having been sent
    wait_ms: int | None = None  #: it is filed again for this slot, and not sent
    #: it is filed again for the second that was chosen, or is to be in this half-open range of ms; none of
    #: the three: it is let go
    within: tuple[int, int] | None = None
    second_ms: int | None = None  #: that second, once it is claimed
    files: tuple[Row, ...] = ()  #: runs that follow; somebody must read them
    missed: tuple[tuple[Row, Outcome], ...] = ()  #: runs that are passed over, with how each ends
    #: those of them that a step before this one has recorded, whose end nobody saw: it may have told nobody
    told_of: tuple[tuple[Row, Outcome], ...] = ()
    ends: bool = False  #: the definition has no more runs, and is to be marked so


def passed_over(step: Step, stored: Mapping[UUID, Row]) -> Step:
    """Return a step given which of its `missed` are stored already: a step before this one, whose end nobody
    saw, filed them, so they are runs like others."""
    if not stored:
        return step
    live = [row for row in stored.values() if row.is_live]
    missed = [(row, end) for row, end in step.missed if row.schedule.schedule_id not in stored]
    told_of = [
        (row, end)
        for row, end in step.missed
        if (found := stored.get(row.schedule.schedule_id)) is not None and found.status is end.status
    ]
    return replace(step, files=(*step.files, *live), missed=tuple(missed), told_of=tuple(told_of))


class _Heir(NamedTuple):
    """What the next run is to look at: the run that was let go last, and the one that waits for it."""

    running: UUID | None
    buffered: UUID | None


class _Rival(NamedTuple):
    """A run of the version before, of this run's time or the next one it has, and what follows it."""

    schedule_id: UUID
    nominal_ms: int
    next_id: UUID | None


class _Walk(NamedTuple):
    """The runs of a version that follow one of its runs."""

    ahead: Sequence[Run]  #: all that are due, then the first that is not, if it is in the version's span
    due: Sequence[Run]
    is_all: bool  #: else there are more that are due
    is_over: bool  #: the version's times name no further one, ever


class Decision:
    """What is to be done with a filing of a run at its slot: `looks` says what must be known, then `make`."""

    def __init__(self, definition: Definition | None, row: Row, now_ms: int, retention_ms: int) -> None:
        """
        Args:
            definition: as it was read after the slot.
            row: has a `schedule.run`.
            retention_ms: how long a row is kept after its slot.

        Raises:
            ValueError: the definition's times are of a later version of Ringtime.
        """
        self._definition = definition
        self._row = row
        self._run = run_in(row)
        self._id = row.schedule.schedule_id
        is_placed = self._run.stage is Stage.PLACED
        self._slot_ms = row.place.slot_ms if is_placed else home_slot(self._id)  #: when it came due
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._found: Mapping[UUID, Found] = {}

    def looks(self) -> list[UUID]:
        """Return the runs, of the same app, that `make` has to know of. Mostly none."""
        run, definition, looks = self._run, self._definition, list[UUID]()
        if definition is None or run.stage not in (Stage.NEW, Stage.FOLLOWED):
            return looks
        if run.is_contested and self._rival is not None:
            looks += [each for each in (self._rival.schedule_id, self._rival.next_id) if each is not None]
        if definition.overlap is not Overlap.ALLOW or run.stage is Stage.FOLLOWED:
            looks += [each for each in (run.running, run.buffered) if each is not None]
        if self._may_be_second and self._next_id is not None:
            looks.append(self._next_id)
        return looks

    def make(self, found: Mapping[UUID, Found]) -> Step:
        """Return the step.

        Args:
            found: what is stored of each of `looks`.
        """
        self._found = found
        definition, run = self._definition, self._run
        if run.work is not None:
            if run.stage is Stage.ACCEPTED:
                if definition is not None and self._is_cancelled(definition):
                    return self._drop(_CANCELLED)
                if run.work.until_ms is not None and self._now_ms < run.work.until_ms + GRACE_MS:
                    return Step(run=run, wait_ms=run.work.until_ms + GRACE_MS)
            return Step(run=run, outcome=outcome_of_work(self._row, run, self._now_ms))
        if definition is None or definition.version < run.version:
            created_ms = self._row.schedule.created_ms
            if run.origin is Origin.CHECK and self._now_ms < created_ms + _CHECK_GIVEN_UP_MS:
                return self._wait()
            return self._drop("there is no such recurring schedule")
        if run.stage is Stage.LET_GO:
            return self._drop(_CANCELLED) if self._is_cancelled(definition) else Step(run=run)
        if run.stage is Stage.PLACED:
            return self._judge_placed(definition)
        if run.origin is Origin.TRIGGER or run.origin is Origin.BACKFILL:
            return self._judge_asked(definition)
        if _is_waiting(run):  # which was its time's run when it came due
            return self._judge(definition)
        span = self._span
        if span is None or (self._is_beyond and not self._was_followed):
            return self._drop(_SUPERSEDED)
        if run.origin is Origin.CHECK:
            return self._follow(definition, span, self._drop(""))
        if run.is_contested and not self._is_beyond:
            rival = self._rival
            is_over = rival is None or found[rival.schedule_id].is_superseded
            if rival is not None and rival.nominal_ms == run.nominal_ms and not is_over:
                if not self._stands(rival):
                    return self._wait()
                return self._follow(definition, span, self._drop("run by the version before"))
            self._run = replace(run, is_contested=not is_over)
        return self._place(span, self._follow(definition, span, self._judge(definition)))

    def _place(self, span: Span, step: Step) -> Step:
        """Return the step of a run as it came due: where its second is to be chosen, with the range for it;
        if too little is left of that, the range is the ms that it is."""
        run, window = self._run, span.version.times.window
        is_let_go = step.outcome is None and step.wait_ms is None
        if (
            window is None
            or window.spread is not Spread.LEAST_LOADED
            or not is_let_go
            or run.stage is not Stage.NEW
        ):
            return step
        planned = self._planned
        least_ms = PLACE_AHEAD_MS + _LEAST_CHOICE_MS
        if planned is None or planned.until_ms is None or planned.until_ms - self._slot_ms < least_ms:
            return step
        until_ms = planned.until_ms if self._next is None else min(planned.until_ms, self._next.effective_ms)
        from_ms = max(self._now_ms + PLACE_AHEAD_MS, self._slot_ms)
        if until_ms - from_ms < _LEAST_CHOICE_MS:
            from_ms = max(min(self._now_ms, until_ms - 1), self._slot_ms)
            until_ms = from_ms + 1
        placed = replace(run, stage=Stage.PLACED, running=None, buffered=None)
        return replace(step, run=placed, within=(from_ms, until_ms))

    def _judge_placed(self, definition: Definition) -> Step:
        """Return what becomes of a run whose chosen second has come. Nobody has sent it if its definition was
        stopped before that, for it was read then. Nor as a rule if that second is long over; it may have been
        sent by one who died over it, if all dispatchers were away since."""
        if self._is_cancelled(definition):
            return self._drop(_CANCELLED)
        if self._stop is not None:
            return self._drop(self._stop)
        is_late = self._now_ms - self._slot_ms > LATE_MS
        if is_late and self._count_missed(definition, self._walk.due, self._now_ms):
            return self._miss(_TOO_LATE)
        return Step(run=self._let_go())

    def _judge(self, definition: Definition) -> Step:
        """Return what becomes of a run of the plan, but for misfire and overlap."""
        run = self._run
        if self._is_cancelled(definition):
            return self._drop(_CANCELLED)
        if self._stop is not None and not self._was_followed:
            return self._drop(self._stop)
        if run.running is not None and _is_waiting(run) and not self._has_ended(run.running):
            return self._wait()
        is_passed_over = run.stage is Stage.FOLLOWED and not _is_waiting(run)
        if is_passed_over and definition.overlap is not Overlap.ALLOW:
            return self._miss(_OVERLAP)  # whoever filed it so died before it was recorded
        return Step(run=self._let_go())

    def _judge_asked(self, definition: Definition) -> Step:
        """Return what becomes of a run that somebody asked for, which is in no chain."""
        later = definition.later_than(self._run.version)
        if DefinitionState.DELETED in (definition.state, *(span.state for span in later)):
            return self._drop(_DELETED)
        running = self._run.running
        if running is None or definition.overlap is Overlap.ALLOW or self._has_ended(running):
            return Step(run=self._let_go())
        # Each of a backfill was asked for: where they must not overlap they go one after the other.
        may_wait = definition.overlap is Overlap.BUFFER_ONE or self._run.origin is Origin.BACKFILL
        step = self._wait_behind(self._found[running]) if may_wait else self._miss(_OVERLAP)
        front = self._found[running].home
        return step if front is None or not self._may_be_unread(front) else replace(step, files=(front,))

    def _may_be_unread(self, front: Row) -> bool:
        """Whether a run that was asked for may lie where nobody reads it any more, as whoever filed it died
        before he knew: it is long due, and in no other place. One that is read all the same, and late, is
        filed once more, and one of the filings is sent."""
        is_asked = run_in(front).origin in (Origin.TRIGGER, Origin.BACKFILL)
        return is_asked and front.is_live and self._now_ms - front.place.slot_ms > LATE_MS

    def _follow(self, definition: Definition, span: Span, step: Step) -> Step:
        """Return a step with what follows the run."""
        run = self._run
        if run.stage is Stage.FOLLOWED:
            return step
        stored = self._following
        if stored is not None:
            step = self._judge_again(definition, step, stored)
            if run_in(stored).stage is Stage.NEW:  # then what follows that one is filed by its own step
                return replace(step, files=(stored,) if stored.is_live else ())
        ahead, due, is_all, is_over = self._walk
        # Those that follow at once, without a step of their own: see above why they are late ones alone. If
        # there are more, the last goes on with the chain. A step that is taken again passes those over that
        # it passed then, as what it filed has gone on from there.
        then_ms = self._now_ms if stored is None else stored.schedule.created_ms
        passable = [each for each in (due if is_all else due[:-1]) if then_ms - each.effective_ms > LATE_MS]
        passed = self._count_missed(definition, passable, then_ms)
        if passed and run.origin is Origin.PLAN:
            passed -= 1
            if stored is None and step.outcome is None:
                step = self._miss(_TOO_LATE)
        late = [] if run.is_contested else [(each, _TOO_LATE) for each in passable[:passed]]
        heir = _Heir(run.running, run.buffered)
        if definition.overlap is not Overlap.ALLOW and step.outcome is None and stored is None:
            step, heir = self._overlap(definition, step)
        is_blocked = step.wait_ms is not None or (step.outcome is not None and step.outcome.error == _OVERLAP)
        if is_blocked and not run.is_contested:
            late += [(each, _OVERLAP) for each in passable[len(late) :]]
        is_one_by_one = run.is_contested or not is_all or definition.overlap is not Overlap.ALLOW
        files = ahead[len(late) : len(passable) + 1][: 1 if is_one_by_one else MOST_AT_ONCE]
        is_in_force = span.until_ms is None and definition.state is DefinitionState.ACTIVE
        return Step(
            run=step.run,
            outcome=step.outcome,
            wait_ms=step.wait_ms,
            files=tuple(self._file(each, heir, is_last=each is files[-1]) for each in files),
            missed=self._pass_over(late),
            ends=is_over and not files and is_in_force,
        )

    def _judge_again(self, definition: Definition, step: Step, stored: Row) -> Step:
        """Return what becomes of a run whose step was taken before, given a run that it filed. That one says
        when it was; so what was let go then is let go again, however late it is now."""
        if self._run.origin is not Origin.PLAN or step.outcome is not None:
            return step
        then_ms, following = stored.schedule.created_ms, run_in(stored)
        due = [each for each in self._walk.due if each.effective_ms <= then_ms]
        if self._count_missed(definition, due, then_ms):
            return self._miss(_TOO_LATE)
        was_allowed = following.running is None and following.stage is Stage.NEW
        if definition.overlap is Overlap.ALLOW or was_allowed or following.running == self._id:
            return step
        if following.running is not None and following.buffered == self._id:
            return self._wait_for(following.running)
        return self._miss(_OVERLAP)

    def _overlap(self, definition: Definition, step: Step) -> tuple[Step, _Heir]:
        """Return what becomes of a run that may be let go, if others may be running yet; and which runs the
        next one is to look at."""
        running, buffered = self._run.running, self._run.buffered
        if running is None or self._has_ended(running):
            running, buffered = buffered, None  # who waited for it has its turn
        if running is None or self._has_ended(running):
            return step, _Heir(self._id, None)
        if definition.overlap is Overlap.BUFFER_ONE and buffered is None:
            return self._wait_for(running), _Heir(running, self._id)
        return self._miss(_OVERLAP), _Heir(running, buffered)

    def _count_missed(self, definition: Definition, due: Sequence[Run], now_ms: int) -> int:
        """Return how many of the run and those that follow and are due come too late: the oldest."""
        own = [self._slot_ms] if self._run.origin is Origin.PLAN else []
        slots = [*own, *(each.effective_ms for each in due)]
        late = sum(now_ms - slot_ms > LATE_MS for slot_ms in slots)
        if definition.misfire is Misfire.SKIP or not late:
            return late
        if definition.misfire is Misfire.ONCE:
            return late - 1
        age_ms = definition.misfire_age_ms
        too_old = 0 if age_ms is None else sum(now_ms - slot_ms > age_ms for slot_ms in slots)
        return min(max(too_old, late - definition.misfire_most), late)

    def _pass_over(self, passed: Sequence[tuple[Run, str]]) -> tuple[tuple[Row, Outcome], ...]:
        """Return the records of runs that are not made: the first singly, the last one for all others."""
        unnamed = max(len(passed) - MOST_AT_ONCE, 0)
        recorded = passed if not unnamed else [*passed[: MOST_AT_ONCE - 1], passed[-1]]
        rows = []
        for n, (planned, why) in enumerate(recorded):
            if unnamed and n == len(recorded) - 1:
                why = f"{why}, as did {unnamed} before it, which have no record of their own"
            row = self._file(planned, _Heir(None, None), is_last=False)
            rows.append((row, Outcome(status=Status.MISS, ended_ms=self._now_ms, error=why)))
        return tuple(rows)

    def _file(self, planned: Run, heir: _Heir, *, is_last: bool) -> Row:
        """Return the row of a run that follows; the last one is to go on with the chain."""
        if is_last:
            run = run_of(self._run, planned, Stage.NEW, *heir)
        else:
            run = run_of(self._run, planned, Stage.FOLLOWED)
        return row_of(run, planned, self._row, self._now_ms, self._retention_ms)

    @cached_property
    def _span(self) -> Span | None:
        """The run's version; of a check, if the version names it."""
        definition, run = self._definition, self._run
        span = None if definition is None else span_of(definition, run.version)
        if span is None or (run.origin is Origin.CHECK and span.version.check_id != self._id):
            return None
        return span

    @property
    def _is_in_chain(self) -> bool:
        run = self._run
        return run.stage in (Stage.NEW, Stage.PLACED) and run.origin in (Origin.PLAN, Origin.CHECK)

    @property
    def _is_beyond(self) -> bool:
        """Whether the run lies beyond its version's span: a later version was stored after it was filed."""
        span = self._span
        return span is not None and span.until_ms is not None and self._run.nominal_ms > span.until_ms

    @property
    def _stop(self) -> str | None:
        """What stopped its definition before the run came due, if not before its time; None: nothing did. It
        follows from the versions there were by then, so it is the same whenever somebody asks."""
        due_ms, later = self._slot_ms, self._definition and self._definition.later_than(self._run.version)
        if self._run.stage is Stage.PLACED:
            due_ms = self._row.schedule.fire_ms  # which was claimed; where it is filed may be later
        for span in later or ():
            if span.stops(due_ms):
                return _DELETED if span.state is DefinitionState.DELETED else _PAUSED
        return None

    @property
    def _planned(self) -> Run | None:
        """The run as its version plans it; None: it does not any more, as a calendar was changed."""
        span, run = self._span, self._run
        if span is None:
            return None
        planned = next_run(span.version, run.recurring_id, run.nominal_ms - 1, run.ordinal)
        return None if planned is None or planned.nominal_ms != run.nominal_ms else planned

    @cached_property
    def _next(self) -> Run | None:
        """What follows the run in its version, be it beyond its span; nothing of what went on already, or is
        in no chain."""
        span, run = self._span, self._run
        if span is None or not self._is_in_chain:
            return None
        return next_run(span.version, run.recurring_id, run.nominal_ms, index_of(run))

    @cached_property
    def _next_id(self) -> UUID | None:
        return None if self._next is None else id_of(self._row, self._run, self._next)

    @property
    def _following(self) -> Row | None:
        """What follows the run, if that was looked at and is stored: a step before this one filed it."""
        if self._next_id is None or not self._may_be_second:
            return None
        return self._found[self._next_id].home

    @property
    def _was_followed(self) -> bool:
        """Whether what follows the run was filed when it was its time's run, which it is for good then."""
        return self._run.stage is Stage.FOLLOWED or self._following is not None

    @cached_property
    def _walk(self) -> _Walk:
        """What follows the run within its version's span."""
        ahead: list[Run] = []
        span, run, planned = self._span, self._run, self._next
        if span is None or not self._is_in_chain:
            return _Walk(ahead, ahead, is_all=True, is_over=False)
        while len(ahead) < MOST_WALKED:
            if planned is None:
                return _Walk(ahead, ahead, is_all=True, is_over=True)
            if span.until_ms is not None and planned.nominal_ms > span.until_ms:
                return _Walk(ahead, ahead, is_all=True, is_over=False)
            if planned.effective_ms > self._now_ms:
                return _Walk([*ahead, planned], ahead, is_all=True, is_over=False)
            ahead.append(planned)
            planned = next_run(span.version, run.recurring_id, planned.nominal_ms, planned.index)
        return _Walk(ahead, ahead, is_all=False, is_over=False)

    @cached_property
    def _may_be_second(self) -> bool:
        """Whether the step may have been taken before, and to know it matters: something would be decided
        otherwise now, or several runs be filed, or what was filed not be filed now."""
        definition, walk = self._definition, self._walk
        if definition is None or self._next is None:
            return False
        is_late = self._now_ms - self._slot_ms > LATE_MS and self._run.origin is Origin.PLAN
        is_changed = not walk.ahead or self._stop is not None
        return is_late or is_changed or bool(walk.due) or definition.overlap is not Overlap.ALLOW

    @cached_property
    def _rival(self) -> _Rival | None:
        """The run of the version before that has this run's time, or the next one it has."""
        definition, run = self._definition, self._run
        span = None if definition is None else span_of(definition, run.version - 1)
        if span is None or run.origin is not Origin.PLAN:
            return None
        planned = next_run(span.version, run.recurring_id, run.nominal_ms - 1, 0)
        if planned is None:
            return None
        theirs, partition = replace(run, version=span.version.version), span.version.partition
        following = next_run(span.version, run.recurring_id, planned.nominal_ms, 0)
        return _Rival(
            id_of(self._row, theirs, planned, partition),
            planned.nominal_ms,
            None if following is None else id_of(self._row, theirs, following, partition),
        )

    def _stands(self, rival: _Rival) -> bool:
        """Whether a run of the version before is its time's run for good, whatever becomes of it."""
        found = self._found[rival.schedule_id]
        if found.home is None or found.has_ended:
            return True
        is_followed = rival.next_id is not None and self._found[rival.next_id].home is not None
        return is_followed or run_in(found.home).stage is Stage.FOLLOWED

    def _has_ended(self, schedule_id: UUID) -> bool:
        found, definition = self._found[schedule_id], self._definition
        if found.home is None or definition is None or completion_ms_of(found.home.schedule) is None:
            return found.has_ended
        # One that is worked on, and was cancelled, has its outcome only when its time is over.
        return found.has_ended or _is_skipped(run_in(found.home), definition)

    def _is_cancelled(self, definition: Definition) -> bool:
        return _is_skipped(self._run, definition)

    def _let_go(self) -> RunOf:
        return replace(self._run, stage=Stage.LET_GO, running=None, buffered=None)

    def _drop(self, why: str) -> Step:
        return self._end(Status.DELETED, why)

    def _miss(self, why: str) -> Step:
        return self._end(Status.MISS, why)

    def _end(self, status: Status, why: str) -> Step:
        return Step(run=self._run, outcome=Outcome(status=status, ended_ms=self._now_ms, error=why))

    def _wait_for(self, running: UUID) -> Step:
        run = replace(self._run, stage=Stage.FOLLOWED, running=running, buffered=None)
        return replace(self._wait(), run=run)

    def _wait_behind(self, found: Found) -> Step:
        """Return a step that looks again a moment after the run in front does, if that waits itself: so that
        many in a line follow each other closely."""
        least_ms, most_ms = _LOOK_AGAIN_MS
        if found.home is None:
            return self._wait()
        slot_ms = (found.home.moved_to or found.home.place).slot_ms
        wait_ms = slot_ms + least_ms - self._now_ms if slot_ms > self._now_ms else self._now_ms - slot_ms >> 2
        return Step(run=self._run, wait_ms=self._now_ms + min(max(wait_ms, least_ms), most_ms))

    def _wait(self) -> Step:
        least_ms, most_ms = _LOOK_AGAIN_MS
        waited_ms = self._now_ms - self._slot_ms
        return Step(run=self._run, wait_ms=self._now_ms + min(max(waited_ms // 4, least_ms), most_ms))


def _is_skipped(run: RunOf, definition: Definition) -> bool:
    return run.origin is Origin.PLAN and run.nominal_ms in definition.skipped


def _is_waiting(run: RunOf) -> bool:
    """Whether a run that is followed waits for the end of another one."""
    return run.stage is Stage.FOLLOWED and run.running is not None
