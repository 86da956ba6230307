"""A recurring schedule, and what each of its runs knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from ringtime_shared.ids import EPOCH_2020_MS, PARTITION_BITS, SLOT_BITS, Kind, id_from
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.times import Exclusions, Times

NO_EXCLUSIONS = Exclusions()
MAX_EARLIER = 50  #: versions of a definition whose spans are remembered
MAX_BACKFILLED = 20  #: ranges of a definition that were backfilled, and are remembered
MAX_SKIPPED = 100  #: nominal times of a definition that clients have cancelled


class Origin(StrEnum):
    """Why a run was filed."""

    PLAN = "PLAN"  #: its definition's times say so
    TRIGGER = "TRIGGER"  #: a client asked for one now
    BACKFILL = "BACKFILL"  #: a client asked for those of a time that is over
    CHECK = "CHECK"  #: it is never sent: it sees to it that a change of the definition was finished


class Misfire(StrEnum):
    """What becomes of the planned runs that came due while nothing could be sent."""

    SKIP = "SKIP"  #: none is sent
    ONCE = "ONCE"  #: the last of them is sent
    ALL = "ALL"  #: the last `misfire_most` of them are sent


class Overlap(StrEnum):
    """What becomes of a run that comes due while the one before it has no outcome yet."""

    ALLOW = "ALLOW"  #: it is sent all the same
    SKIP = "SKIP"  #: it is missed
    BUFFER_ONE = "BUFFER_ONE"  #: one waits until the other has ended; more are missed


class DefinitionState(StrEnum):
    """Whether a definition makes runs."""

    ACTIVE = "ACTIVE"  #: also while it is paused up to an instant
    PAUSED = "PAUSED"  #: until somebody resumes it
    ENDED = "ENDED"  #: its last run was filed, or none is left
    DELETED = "DELETED"  #: kept, so that its name goes on with the versions it had


#: states of those that are shown, if nobody says which
SHOWN = (DefinitionState.ACTIVE, DefinitionState.PAUSED, DefinitionState.ENDED)


class Stage(StrEnum):
    """How far a filing of a run is."""

    NEW = "NEW"  #: what follows it may not be filed yet
    FOLLOWED = "FOLLOWED"  #: what follows it is filed
    PLACED = "PLACED"  #: what follows it is filed; this filing's slot is the second chosen for it
    LET_GO = "LET_GO"  #: it is to be sent, as any row is
    ACCEPTED = "ACCEPTED"  #: its receiver works on it; this filing's slot is when its time for that is over
    COMPLETED = "COMPLETED"  #: its receiver said how that ended; this filing records it


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a receiver does for a run that it answered 202, and how that ended."""

    sent_ms: int  #: when the attempt was sent that it answered
    attempt: int
    accepted_ms: int | None = None  #: when the answer came; None: it was not known yet when the work was done
    until_ms: int | None = None  #: its time for it
    ended_ms: int | None = None  #: when it said that it is done; None: it did not yet
    error: str = ""  #: why it failed; "": it did not


@dataclass(slots=True, kw_only=True, unsafe_hash=True)  # not frozen, as of those in `models.schedule`
class RunOf:
    """What a run knows of its definition; it is kept with the row, and with each later filing of it. Nobody
    changes it.

    A run is wanted, and what follows it is filed, by a look at its definition when it comes due. Whoever does
    that may do it twice: `run_id` gives the same run the same id.
    """

    recurring_id: UUID
    version: int  #: of the definition that filed it
    nominal_ms: int  #: when the definition says; the fire time of its schedule may be later, within a window
    ordinal: int = 0  #: how many planned runs the definition had before it, in all its versions
    origin: Origin = Origin.PLAN
    running: UUID | None = None  #: id of the last run before it that was let run, if overlaps are looked at
    buffered: UUID | None = None  #: id of a run that waits for `running`
    stage: Stage = Stage.NEW
    is_contested: bool = False  #: the version before may have let its own run of this time go
    work: Work | None = None  #: of ACCEPTED and COMPLETED


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """A version of a definition, as far as runs need it: from when on the nominal times are its own, and
    which runs of the versions before it stops."""

    version: int
    from_ms: int
    times: Times
    partition: int
    check_id: UUID | None = None
    state: DefinitionState = DefinitionState.ACTIVE  #: that of the definition, when there was no later one
    paused_until_ms: int | None = None
    #: what the calendars of its times say now; stored with them, so read and never written with this
    exclusions: Exclusions = field(default=NO_EXCLUSIONS, compare=False, repr=False)

    def stops(self, due_ms: int) -> bool:
        """Whether a run of the versions before that comes due then is not sent: this one is a deletion or a
        pause.

        That is so for good: also if the definition is resumed, or made anew, before the run comes due. What
        a pause until an instant stops comes due before that.
        """
        if due_ms <= self.from_ms:
            return False
        if self.paused_until_ms is not None:
            return due_ms < self.paused_until_ms
        is_over = self.state in (DefinitionState.PAUSED, DefinitionState.DELETED)
        return is_over and self.check_id is None  # else it was deleted after its own last run


@dataclass(frozen=True, slots=True)
class Backfilled:
    """A half-open range of nominal times that a client had made up for, and where their runs are filed."""

    from_ms: int
    to_ms: int
    slot_ms: int
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A recurring schedule, as a client wrote it and as far as it has come. Each write raises `revision`.

    A nominal time belongs to the version whose `from_ms` is the last before it, so every one belongs to
    exactly one version: whoever edits a definition takes the times later than now over from the version
    before.
    """

    recurring_id: UUID
    app_id: str
    name: str
    revision: int = 1  #: goes up by one with each write
    version: int = 1  #: goes up when runs that are filed already are wanted no more
    times: Times
    payload: str
    callback_type: str
    #: JSON object, as the callback type understands it; not in the repr, which gets logged
    callback_details: bytes = field(repr=False)
    retry: RetryRules | None = None  #: where it differs from its app's
    sending: Sending | None = None  #: of each run; None: as most are
    created_ms: int
    changed_ms: int
    partition: int  #: where the runs of this version are filed
    #: nominal times later than this belong to this version; a second after the change, at least, so that what
    #: is let go while it is written is the run of the version before
    from_ms: int
    starts_after_ms: int  #: its first run is the first later than this: `from_ms`, or the end of a pause
    ordinal: int = 0  #: planned runs of the versions before
    filed_upto_ms: int = 0  #: no run of the versions before was filed for a slot later than this
    check_id: UUID | None = None  #: of the check that was filed for this version; None: it makes no runs
    earlier: tuple[VersionSpan, ...] = ()  #: the versions before, newest first, at most `MAX_EARLIER`
    state: DefinitionState = DefinitionState.ACTIVE
    reason: str = ""  #: why it is paused, as whoever paused it said
    paused_until_ms: int | None = None  #: of one that is ACTIVE: until when it is, or was, paused
    misfire: Misfire = Misfire.ONCE
    misfire_most: int = 1  #: of ALL
    misfire_age_ms: int | None = None  #: a run later than this is missed; None: the app's own bound alone
    overlap: Overlap = Overlap.ALLOW
    skipped: tuple[int, ...] = ()  #: nominal times that a client cancelled, sorted, at most `MAX_SKIPPED`
    backfilled: tuple[
        Backfilled, ...
    ] = ()  #: oldest first, at most `MAX_BACKFILLED`; the first that fits counts
    exclusions: Exclusions = field(default=NO_EXCLUSIONS, compare=False, repr=False)  #: as of a `VersionSpan`
    keeps: bool = True  #: after its last run it is ENDED; else DELETED
    damage: str = ""  #: why what is stored cannot be read; then other fields say nothing. Never stored

    @property
    def key(self) -> str:
        """What places its runs within their windows."""
        return str(self.recurring_id)

    @property
    def is_live(self) -> bool:
        """Whether it makes runs, or may be told to."""
        return self.state in (DefinitionState.ACTIVE, DefinitionState.PAUSED)

    def state_at(self, now_ms: int) -> DefinitionState:
        """Return its state as clients see it: also PAUSED while it is paused up to an instant."""
        until_ms = self.paused_until_ms
        if self.state is DefinitionState.ACTIVE and until_ms is not None and now_ms < until_ms:
            return DefinitionState.PAUSED
        return self.state

    @property
    def current(self) -> VersionSpan:
        """The version in force, as it is remembered when there is a later one."""
        return VersionSpan(
            self.version,
            self.from_ms,
            self.times,
            self.partition,
            self.check_id,
            self.state,
            self.paused_until_ms,
            self.exclusions,
        )

    def later_than(self, version: int) -> Iterator[VersionSpan]:
        """Yield the versions after one, the newest first."""
        if self.version <= version:  # as nearly always
            return
        for span in (self.current, *self.earlier):
            if span.version <= version:
                return
            yield span

    def owner_of(self, nominal_ms: int) -> int:
        """Return the version that a nominal time belongs to; 0: it was before those that are remembered."""
        for span in (self.current, *self.earlier):
            if nominal_ms > span.from_ms:
                return span.version
        return 0


def recurring_id_of(app_number: int, name: str) -> UUID:
    """Return the id of the recurring schedule of this name in an app: the same for whoever asks, and whatever
    became of it before."""
    rest = int.from_bytes(sha256(f"recurring\0{name}".encode()).digest(), "big")
    partition = rest >> SLOT_BITS
    return id_from(
        rest >> SLOT_BITS + PARTITION_BITS,
        offset_ms=rest,
        kind=Kind.RECURRING,
        partition=partition,
        app_number=app_number,
    )


def run_id(
    *,
    recurring_id: UUID,
    version: int,
    nominal_ms: int,
    origin: Origin,
    slot_ms: int,
    partition: int,
    app_number: int,
    request: str = "",
) -> UUID:
    """Return the id of a run whose home row is filed at this slot and partition.

    The slot of a planned run is its effective time, also if that is over, and the partition that of its
    definition's version: so two who file the same run file the same row.

    Args:
        request: tells runs apart that clients asked for at one instant.
    """
    what = f"run\0{recurring_id.hex}\0{origin}\0{version}\0{nominal_ms}\0{request}"
    rest = int.from_bytes(sha256(what.encode()).digest(), "big")
    offset_ms = slot_ms - EPOCH_2020_MS
    return id_from(rest, offset_ms=offset_ms, kind=Kind.RUN, partition=partition, app_number=app_number)
