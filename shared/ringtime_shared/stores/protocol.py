"""What a store must do.

Rules for every method of every driver:

- It raises `StoreUnavailable` when nothing was written or read, and `OutcomeUnknown` when a write got
  no answer; no other error of its client library comes through. Every write may be repeated with the
  same arguments without a second effect.
- When a write has returned, it is durable, and every read that starts later sees it.
- A record that cannot be read (a cell that does not decode, or holds what cannot be) fails alone: where many
  are asked for, it is told apart and the others are returned; where it alone is, `Damaged` is raised.
- Nobody but the caller's own `put_updates`, `put_cancel` and `put_marks` changes a row or a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple, Protocol
from uuid import UUID

from ringtime_shared.access.keys import KeyStore
from ringtime_shared.clock import ServerTime
from ringtime_shared.errors import VersionConflict
from ringtime_shared.ids import to_uuid
from ringtime_shared.models.alias import Alias
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job, JobKey
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.models.recurring import Definition, Origin
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.models.shadow import Tap
from ringtime_shared.models.tally import Tally
from ringtime_shared.parts import CopyPage, PartMap

RUNS_WINDOW_MS = 7 * 86_400_000  #: the runs of a definition are kept together by weeks of nominal time
LAST_ID = UUID(int=(1 << 128) - 1)  #: sorts at or after every id: `(slot, LAST_ID)` is past that slot


class Position(NamedTuple):
    """A place between rows of one bucket: just after the row with this slot and id."""

    slot_ms: int
    schedule_id: UUID


class DueQuery(NamedTuple):
    """Rows of one bucket of one poller instance, after `after`, up to slot `upto_ms` inclusive."""

    instance: Instance
    bucket: int
    after: Position
    upto_ms: int
    limit: int


class DamagedRow(NamedTuple):
    """The key of a row that cannot be read."""

    place: Place
    schedule_id: UUID
    fault: str  #: the column, and what is wrong with it


@dataclass(frozen=True, slots=True)
class DuePage:
    """Live rows in key order, at most `limit`.

    A driver may count rows that are not live towards the limit, so a page may hold fewer rows, or none,
    and have a `next`. There may also be a `next` when nothing follows; then the page after it is empty.
    """

    rows: Sequence[Row]
    next: Position | None  #: go on after this one; None: there was nothing further up to `upto_ms`
    damaged: Sequence[DamagedRow] = ()  #: live rows that cannot be read; they count towards the limit


class IdPage(NamedTuple):
    """Keys of live rows, in order, at most `limit`; as with `DuePage`, others may count towards the limit."""

    ids: Sequence[Position]
    next: Position | None  #: go on after this one; None: there was nothing further up to `upto_ms`


class Arrival(NamedTuple):
    """Rows were filed for this poller instance at these slots, all of one minute; see `arrivals`."""

    written_ms: int  #: by the clock of the store that filed them
    instance: Instance
    slots: tuple[int, ...]  #: each once, in order; at least one


class IndexEntry(NamedTuple):
    """This poller instance has, or may have, rows in this bucket."""

    bucket: int
    instance: Instance


class Marks(NamedTuple):
    """What a poller instance's owner has published; slots in ms, each never goes back in a term."""

    sealed_ms: int  #: rows filed at or under this slot later than now may not be seen
    settled_ms: int  #: every row at or under this slot has an outcome or a later slot


DAMAGED_MARKS = Marks(-1, -1)  #: of an instance whose stored marks cannot be read; no mark is negative


class MarksWrite(NamedTuple):
    """Marks published under one ownership term."""

    instance: Instance
    term: int  #: fencing number: era << 48 | epoch of the claim
    marks: Marks


class AppCounts(NamedTuple):
    """How much is registered."""

    apps: int
    partitions: int  #: of all of them, those that are polled


class AppChange(NamedTuple):
    """An app was created, replaced or deleted."""

    changed_ms: int  #: by the clock of the store that changed it
    app_id: str

    @property
    def weight(self) -> int:
        """By how much it raises the count: 32 bits that look random, so that sums tell which were counted."""
        digest = blake2b(f"{self.changed_ms} {self.app_id}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") + 1


class AppStore(Protocol):
    """The registered apps. Each change of one is told and counted before its call returns: `AppFeedStore`.

    A call that ends in OutcomeUnknown may have changed an app that is not counted.
    """

    async def create_app(self, app: App) -> App:
        """Register `app` and return it with the number it was given; `app.number` is ignored.

        Numbers rise and are never given out twice. Also writes first marks for its partitions, a minute
        before `app.created_ms`, under term 0; where an app of this id was deleted before and left marks,
        these are raised to that under the term they have. Raises AppExists.
        """
        ...

    async def fetch_app(self, app_id: str) -> App | None:
        """Return the app as it is now. Raises Damaged."""
        ...

    async def fetch_apps(self) -> list[App]:
        """Return all apps, by app id; of one that cannot be read, what it is called and its `damage`."""
        ...

    async def count_apps(self) -> AppCounts:
        """Return how many apps there are, deactivated ones included, and how many partitions they have."""
        ...

    async def replace_app(self, app: App) -> None:
        """Store `app` if the stored version is `app.version - 1`. Raises VersionConflict, also if the stored
        app is another one of the same id, and NotFound.

        Repeating a replace that was carried out (same version, same content) is no conflict. A driver that
        gets no answer looks whether it was, so OutcomeUnknown means that no look can tell.
        Partitions that `polled` gains get first marks as in `create_app` if they have none,
        counted from the moment of the call, before the app itself is changed.
        """
        ...

    async def delete_app(self, app: App) -> None:
        """Forget `app`, if the stored version is `app.version`, with its secrets and its dead letters.

        No error if it is gone already, though there may be another of its id by now. Its rows stay until
        they expire, and its marks as long as the driver needs them. Raises VersionConflict.
        """
        ...


class AppFeedStore(Protocol):
    """What changes of the apps, for those who keep all of them in memory (`ringtime_shared.apps.feed`).

    The count is for proofs: if two readings of it are equal, every change that had returned before the
    second one was durable before the first. It is raised by the weight of each change, behind the entry in
    the log that names it, so whoever finds entries that weigh what the count rose by knows what changed.
    """

    async def count_app_changes(self) -> int:
        """Return what all changes of apps so far weigh. Never falls; one change may count several times."""
        ...

    async def fetch_app_changes(self, after_ms: int) -> list[AppChange]:
        """Return the changes stamped after `after_ms`, in no order; only of the last minutes, and perhaps not
        all of these."""
        ...

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        """Return those of these apps that there are, as `fetch_apps` returns them, in no order."""
        ...

    async def announce_app(self, app_id: str) -> None:
        """Tell and count a change that somebody else made: whoever made it may have died before that."""
        ...


class ScheduleStore(Protocol):
    """The schedule rows, by key."""

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """File rows, with their index entries; announce those that are near (see `arrivals`). A row that is
        there already stays as it is, but is kept longer if it is filed again with a later `expires_ms`; with
        an earlier one it may be kept as long as that says. Other contents are never filed under its key: a
        driver may keep either.

        What is written after creation (`cancelled_ms`, `moved_to`, `outcome`) is None in `rows`, and a
        row's place, and where it moves, is in its schedule's own app.
        """
        ...

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        """Return one row. Raises Damaged."""
        ...

    async def put_cancel(
        self, place: Place, schedule_id: UUID, cancelled_ms: int, expires_ms: int | None = None
    ) -> None:
        """Mark an existing row cancelled, unless it is.

        Args:
            expires_ms: of the row as it was read a moment ago, when nobody had cancelled it: a driver need
                not look at it again before it writes. None: a row that is not there stays so.
        """
        ...

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        """Write outcomes and forward pointers to existing rows.

        Of two outcomes, or two pointers, of a row the one holds that was written later for the first time. So
        an update that is written again, as the same object or a copy of it, because nobody knows what came of
        the first time, never undoes what others have written since, who may have read it. Notes in an update
        when it was written first.
        """
        ...

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        """Answer each query with its page, in the order of the queries: rows live or not, with all that was
        written to them.

        Queries that differ in their partition alone cost less together, as with `DueStore.fetch_due`.
        """
        ...


class DueStore(Protocol):
    """The schedule rows, by time."""

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        """Return the poller instances with rows in buckets `first` to `last` inclusive, by bucket.

        Args:
            groups: those of these groups are asked for, others may be left out; None: of all.
        """
        ...

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        """Return the arrivals stamped after `after_ms`, in no order, as long as the store remembers them.

        Args:
            groups: as with `fetch_index`.
        """
        ...

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        """Answer each query with its page, in the order of the queries.

        Queries that differ in their app alone cost a tenth where few rows are asked for: a driver may ask for
        as many of them at once as have limits of 500 together.
        """
        ...

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[IdPage]:
        """Answer each query with a page of the keys of its live rows, in the order of the queries."""
        ...


class ReceiptPage(NamedTuple):
    """Some of the schedules that were filed in one minute of a poller instance, in no order."""

    schedule_ids: Sequence[UUID]
    next: bytes | None  #: go on after this receipt; None: there was nothing further


class ReceiptStore(Protocol):
    """What was filed, told beside the rows: audits hold the rows against it.

    `put_rows` writes receipts: of each home row that stands for its schedule in lists, in one write with the
    row, so that none is there without the other. Nothing that is done with a row afterwards
    touches them. They end a little before their rows do.
    """

    async def fetch_receipts(self, entry: IndexEntry, after: bytes | None, limit: int) -> ReceiptPage:
        """Return which schedules were filed in a bucket, of at most `limit` receipts, those after this one;
        None: from the first. One may be told several times."""
        ...


class MovedStore(Protocol):
    """Where rows were left for a later filing: beyond `settled`, that alone may have no outcome yet."""

    async def fetch_moved(self, first: int, last: int, app_id: str = "") -> list[IndexEntry]:
        """Return the buckets `first` to `last` inclusive in which some row was given a forward pointer, by
        bucket, of this app; "": of all. Each is noted by the `put_updates` that writes the first."""
        ...


class MarkStore(Protocol):
    """The marks of poller instances, fenced by term."""

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        """Return the marks of those instances that have any; `DAMAGED_MARKS` of one whose cannot be read."""
        ...

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        """Publish marks. A write under an older term than the stored one is ignored without an error,
        and within one term each mark keeps the greater value."""
        ...

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        """Return the term under which the marks of those instances that have any were last written; 0:
        nobody owned it yet."""
        ...


class MetaStore(Protocol):
    """Numbers the whole deployment agrees on."""

    async def claim_nonce(self, holder: str) -> int:
        """Return a process nonce that no live process holds; see `ids`."""
        ...

    async def note_restore(self, sent_until_ms: int, nonces: int) -> None:
        """Note that the store went back in time: pass over so many nonces, and take what lies under slots up
        to `sent_until_ms` as sent by the deployment that was backed up; 0: nothing. See `apps.restoring`.

        Servers that run go by it after their next start.
        """
        ...

    async def fetch_sent_until(self) -> int:
        """Return the instant that `note_restore` was last called with, in ms; 0: never."""
        ...

    async def raise_era(self, identity: str) -> int:
        """Return the era of the coordination service with this `identity`: the stored era if the
        identity is the recorded one, else one more than the stored era, recorded with `identity`."""
        ...

    async def fetch_times(self) -> Sequence[ServerTime]:
        """Ask some of the store's servers what time it is; return what was answered, at least one.

        Empty, always: the store lives in this process and has no clock of its own. Raises StoreUnavailable.
        """
        ...

    async def ping(self) -> None:
        """Answer one real query, or raise StoreUnavailable."""
        ...

    async def check_ready(self) -> None:
        """Answer one real query, and return if a write was possible within the last seconds; at most one
        tiny write a second is made to find out. Raises StoreUnavailable, OutcomeUnknown."""
        ...


class PartStore(Protocol):
    """The part map, for who changes it; see `parts`. The other protocols go by it on their own."""

    async def fetch_parts(self) -> PartMap:
        """Return the map as it is now. Raises Damaged."""
        ...

    async def replace_parts(self, parts: PartMap) -> None:
        """Store `parts` if the stored version is `parts.version - 1`. Raises VersionConflict.

        Repeating a replace that was carried out is no conflict; OutcomeUnknown means that no look can tell.
        Raises Conflict if this store's index has no parts.
        """
        ...

    async def copy_entries(self, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        """File the next entries under the count `written` too, where they are not; see `parts`.

        Args:
            cursor: that of the page before; None: begin.
            kept_ms: how long after its minute, or now if that is later, a row may lie in the store; an entry
                that is filed lasts as long.
        """
        ...


class DefinitionKey(NamedTuple):
    """Names a recurring schedule."""

    app_id: str
    recurring_id: UUID


class RunEntry(NamedTuple):
    """Names a run of a definition; `Place.of_home` says where its home row is."""

    nominal_ms: int
    schedule_id: UUID


class RecurringStore(Protocol):
    """The recurring schedules, and which runs were filed for them.

    A definition is read with what the calendars it names say; one whose calendar is gone, or cannot be read,
    is damaged.

    `put_rows` also keeps the entry of each home row that is a run, checks excepted, for as long as the row;
    for other rows it does nothing more. `AppStore.delete_app` forgets the definitions of the app.
    """

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        """Return the definition as it is now. Raises Damaged."""
        ...

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        """Return those of these definitions that there are, of one that cannot be read its key and its
        `damage`. Many are asked for side by side: one round trip."""
        ...

    async def replace_definition(self, definition: Definition) -> None:
        """Store a definition if the stored one is at `definition.revision - 1`; 0: there is none. Raises
        VersionConflict.

        Repeating a replace that was carried out is no conflict. A driver that gets no answer looks whether it
        was, so OutcomeUnknown means that no look can tell.
        """
        ...

    async def drop_definition(self, definition: Definition) -> None:
        """Forget a definition, if it is still at this revision; one that is gone is no error. Raises
        VersionConflict, and OutcomeUnknown as `replace_definition`."""
        ...

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        """Return the app's definitions by id, at most `limit`, those after this one; None: from the first.
        One that cannot be read has its key and its `damage`."""
        ...

    async def fetch_runs(
        self, key: DefinitionKey, from_ms: int, upto_ms: int, limit: int, *, newest_first: bool = False
    ) -> list[RunEntry]:
        """Return the runs with nominal times in this range, both ends included, in order, at most `limit`.

        A run is there from before its row was filed, so there may be an entry without a row. Reads
        `RUNS_WINDOW_MS` at a time: the range is the caller's to bound.
        """
        ...


class ClaimStore(Protocol):
    """Which schedules keys and names stand for. One may be returned for a while after it has expired."""

    async def fetch_claim(self, key: ClaimKey) -> Claim | None:
        """Return the claim of a text as it is now. Raises Damaged."""
        ...

    async def replace_claim(self, claim: Claim, before: Claim | None) -> Claim:
        """Store a claim unless another one than `before` is stored; return what is stored then: this one, or
        that other. Raises Damaged.

        Repeating a replace that was carried out has no effect. A driver that gets no answer looks whether it
        was, so OutcomeUnknown means that no look can tell.
        """
        ...


class AliasStore(Protocol):
    """Which schedules are meant by ids of another scheduler. One may be returned for a while after it has
    expired."""

    async def put_aliases(self, aliases: Sequence[Alias]) -> None:
        """Store these, over what they meant before."""
        ...

    async def fetch_aliases(self, aliases: Sequence[UUID]) -> dict[UUID, UUID]:
        """Return the ids of the schedules that are meant, of those that mean one."""
        ...


class JobStore(Protocol):
    """Bulk jobs. Nothing here is on a hot path."""

    async def replace_job(self, job: Job) -> None:
        """Store a job for `KEPT_MS` if the stored one is at `job.revision - 1`; 0: there is none. Raises
        VersionConflict; repeats and unknown outcomes are as with `RecurringStore.replace_definition`."""
        ...

    async def fetch_job(self, key: JobKey) -> Job | None:
        """Return the job as it is now. Raises Damaged."""
        ...

    async def list_jobs(self, app_id: str, before: UUID | None, limit: int) -> list[Job]:
        """Return the jobs of an app, newest first, at most `limit`, those before this one; None: from the
        newest. One that cannot be read has its key and its `damage`."""
        ...

    async def fetch_open_jobs(self, limit: int) -> list[Job]:
        """Return jobs of all apps that have not ended, oldest first, at most `limit`; none that cannot be
        read."""
        ...


class CalendarStore(Protocol):
    """The calendars of apps. `RecurringStore` reads them with the definitions that name them;
    `AppStore.delete_app` forgets them."""

    async def fetch_calendars(self, app_id: str) -> list[Calendar]:
        """Return the app's calendars by name, those that are deleted among them. One that cannot be read has
        its key and its `damage`."""
        ...

    async def replace_calendar(self, calendar: Calendar) -> None:
        """Store a calendar if the stored one is at `calendar.revision - 1`; otherwise as
        `RecurringStore.replace_definition`."""
        ...

    async def drop_calendar(self, calendar: Calendar) -> None:
        """Forget a calendar, if it is still at this revision; otherwise as
        `RecurringStore.drop_definition`."""
        ...


class TallyStore(Protocol):
    """How many rows processes have filed that are kept, for apps with a bound on what they may have
    stored."""

    async def put_tallies(self, tallies: Sequence[Tally]) -> None:
        """Write counts, each over the one of its app, day and holder. They are forgotten some time after
        their day."""
        ...

    async def fetch_tallies(self, app_number: int, from_day: int) -> list[Tally]:
        """Return the counts of an app for this day and later ones."""
        ...


class TapKey(NamedTuple):
    """Which call of goscheduler's, in its app and minute."""

    schedule_id: UUID
    tap_id: UUID


class TapStore(Protocol):
    """Calls of goscheduler's that came by the tap, by app and the minute of their fire time."""

    async def put_tap(self, tap: Tap) -> None:
        """Keep a call until it expires, in place of what was kept of the same one."""
        ...

    async def fetch_taps(self, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
        """Return the calls of an app and minute after that one, by their keys. Raises Damaged."""
        ...


class DeadLetterStore(Protocol):
    """Deliveries that were given up, by app and slot."""

    async def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters until they expire. One that is there already is overwritten, except for its
        `replayed_ms`, which is None in `letters`."""
        ...

    async def fetch_dead_letters(
        self, app_id: str, after: Position, upto_ms: int, limit: int
    ) -> list[DeadLetter]:
        """Return those after `after`, up to slot `upto_ms` inclusive, in key order, at most `limit`. One that
        cannot be read has its key, and says so in `error`.

        Reads a day at a time: the range is the caller's to bound.
        """
        ...

    async def put_replayed(self, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
        """Note that existing dead letters were filed again."""
        ...

    async def count_dead_letters(self, app_id: str, from_ms: int, upto_ms: int) -> int:
        """Return how many with slots in this range, both ends included, were not filed again."""
        ...


class DamageStore(Protocol):
    """Notes of damaged records, for people."""

    async def put_damage(self, notes: Sequence[Damage]) -> None:
        """Keep notes for a month. A record that was noted before is noted still, once."""
        ...

    async def fetch_damage(self, limit: int) -> list[Damage]:
        """Return the notes, newest first, at most `limit`."""
        ...


class OperatorStore(Protocol):
    """What the operator's tool needs beside the others. Nothing here is on a hot path."""

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]:
        """Return the buckets `first` to `last` inclusive in which the app has, or had, rows, by bucket and
        partition, the first `limit` of them. Every acknowledged row's bucket is among all of them."""
        ...

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]:
        """Return `fetch_app_buckets` of each of these apps that has some. Of many apps with few each, it
        costs a tenth of asking for them one by one."""
        ...

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        """Return how many live rows each of these buckets holds, counted up to `most` each."""
        ...

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        """Return the highest slot any row of each of these buckets was filed under, live or not; None: no
        row is left. What the driver may return beside it is a higher slot, never a lower one."""
        ...

    async def fetch_schema(self) -> tuple[int, int]:
        """Return the schema version that is there, and the one this Ringtime needs."""
        ...


class ContentStore(Protocol):
    """Other text of the same meaning in place of a row's own: for `ringtime_shared.encryption.rotation`
    alone."""

    async def replace_contents(self, before: Row, after: Row) -> bool:
        """Put details, payload and `sending` of `after` in place of those of `before`, one filing as it was
        read, if what is stored is still that; what was written to it later stays as it is.

        Return whether it is `after` that is stored then; False: something else is, or nothing.
        """
        ...


class AuditStore(Protocol):
    """The audit log: entries are added, and go when they expire; nothing changes or takes back one."""

    async def put_audit(self, entry: AuditEntry) -> None:
        """Keep an entry, until it expires. Writing one again has no effect."""
        ...

    async def fetch_audit(
        self,
        from_ms: int,
        upto_ms: int,
        limit: int,
        *,
        app_id: str = "",
        after: EntryKey | None = None,
        is_oldest_first: bool = False,
    ) -> list[AuditEntry]:
        """Return the entries of this time, both ends included, newest first, at most `limit`. One that cannot
        be read has its key, and says so in `subject`.

        Args:
            app_id: only those of this app; "": all.
            after: only those that come after this one, which need not be there; it is not returned itself.
            is_oldest_first: in the opposite order.
        """
        ...


class NodeStatusStore(Protocol):
    """What dispatchers said of themselves last, for those who cannot ask them. Nobody depends on it."""

    async def put_node_status(self, status: NodeStatus) -> None:
        """Keep a status for `KEPT_MS`, in place of the one of the same node."""
        ...

    async def fetch_node_statuses(self) -> list[NodeStatus]:
        """Return them by node. One that cannot be read has its key and its `damage`."""
        ...

    async def drop_node_status(self, node: str) -> None:
        """Forget the status of a node; no error if there is none."""
        ...


class Store(
    AppStore,
    AppFeedStore,
    ScheduleStore,
    DueStore,
    ReceiptStore,
    MovedStore,
    MarkStore,
    RecurringStore,
    CalendarStore,
    ClaimStore,
    AliasStore,
    JobStore,
    TallyStore,
    TapStore,
    DeadLetterStore,
    DamageStore,
    OperatorStore,
    AuditStore,
    NodeStatusStore,
    MetaStore,
    PartStore,
    KeyStore,
    ContentStore,
    Protocol,
):
    """All of it, as a composition root hands it out."""

    async def close(self) -> None:
        """Finish what is under way and let go of files and connections."""
        ...


FirstMarks = Mapping[Instance, Marks]


def first_marks(app_id: str, partitions: range, now_ms: int) -> FirstMarks:
    """Return the marks of partitions that nobody owned yet: nothing can lie a minute before now."""
    return {Instance(app_id, partition): Marks(now_ms - 60_000, now_ms - 60_000) for partition in partitions}


def version_conflict(stored: App, version: int) -> VersionConflict:
    """Return the error for a change of `version` of an app that is not what is stored."""
    return VersionConflict(
        f"app {stored.app_id}, number {stored.number}, is at version {stored.version}, not {version}"
    )


def parts_conflict(stored: PartMap, wanted: PartMap) -> VersionConflict:
    """Return the error for a change of a part map that is not what is stored."""
    return VersionConflict(f"the part map is at version {stored.version}, not {wanted.version - 1}")


def definition_conflict(stored: Definition | None, wanted: Definition) -> VersionConflict:
    """Return the error for a change of a definition that is not what is stored."""
    found = "is not there" if stored is None else f"is at revision {stored.revision}"
    return VersionConflict(f"recurring schedule {wanted.name} {found}, not at {wanted.revision - 1}")


def drop_conflict(stored: Definition, wanted: Definition) -> VersionConflict:
    """Return the error for dropping a definition that is not what is stored."""
    return VersionConflict(
        f"recurring schedule {wanted.name} is at revision {stored.revision}, not at {wanted.revision}"
    )


def job_conflict(stored: Job | None, wanted: Job) -> VersionConflict:
    """Return the error for a change of a job that is not what is stored."""
    found = "is not there" if stored is None else f"is at revision {stored.revision}"
    return VersionConflict(f"job {wanted.job_id} {found}, not at {wanted.revision - 1}")


def calendar_conflict(stored: Calendar | None, wanted: Calendar) -> VersionConflict:
    """Return the error for a change of a calendar that is not what is stored."""
    found = "is not there" if stored is None else f"is at revision {stored.revision}"
    return VersionConflict(f"calendar {wanted.name} {found}; somebody else changed it")


def is_listed_run(row: Row) -> bool:
    """Whether a row that is filed is the home row of a run that is kept in the list of its definition's."""
    run = row.schedule.run
    return run is not None and run.origin is not Origin.CHECK and row.is_home


RECEIPT_IDS = 64  #: most ids in one receipt
RECEIPT_MARGIN_MS = 600_000  #: a receipt ends so long before the first of its rows: clocks of machines differ


#: whether a row that is filed gets a receipt
is_receipted: Callable[[Row], bool] = attrgetter("is_shown")


def ids_in(receipt: bytes) -> list[UUID]:
    """Return the ids in a receipt."""
    ends = range(16, len(receipt) + 1, 16)
    return [to_uuid(int.from_bytes(receipt[end - 16 : end])) for end in ends]
