"""What SQLite and Cassandra both store as text, written and read; and whether a stored record can be used.

Models are JSON without the fields that have their default value: most have most of them, and a field that a
later version adds costs nothing until it is used. Keys that are not known are passed over, so what a later
version wrote can be read.

Files get damaged and people write into tables, so a cell may be missing, of another type, out of range, or
JSON of something else. What a driver has read is therefore checked before it is used: all records of a page
at once, in C (some 0.1 us a row, where making the row takes 4). Only if that refuses the page are its records
looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from msgspec import Meta, MsgspecError, Raw, Struct, ValidationError, convert
from msgspec.json import Decoder, Encoder

from ringtime_shared.access.grants import SCOPES, grant_of
from ringtime_shared.access.keys import ApiKey
from ringtime_shared.errors import Damaged
from ringtime_shared.ids import MAX_APPS, MAX_PARTITIONS
from ringtime_shared.models.app import App, AppConfiguration, Deletion, Resize, SigningSecret
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job, JobAction, JobState
from ringtime_shared.models.recurring import NO_EXCLUSIONS, Definition, DefinitionState, RunOf
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Attempt, Change, Outcome, Place, Row, Schedule, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.shadow import Shadow, Tap
from ringtime_shared.models.times import Exclusions, Times
from ringtime_shared.models.trace import Trace
from ringtime_shared.parts import PartMap, is_part_count
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks

# Records that can be read, and cells of them

T = TypeVar("T")
Id = TypeVar("Id", UUID, bytes)

KEPT_MS = 30 * 86_400_000  #: how long a note of a damaged record is kept
LAST_MS = 253_402_300_799_999  #: the end of the year 9999
MOST_FAULT_CHARS = 200
_SHORT_BYTES = 1_024  #: details up to here are remembered
_MOST = (1 << 63) - 1
_MOST_JSON_CHARS = 1 << 20
_NATIVE = (bytes, UUID)  #: else text that looks like base64 would do for bytes
_decode_details = Decoder(dict[str, Raw]).decode
_IN_PATH = re.compile(r" - at `\$([^`]*)`")

Millis = Annotated[int, Meta(ge=0, le=LAST_MS)]
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Json = Annotated[str, Meta(max_length=_MOST_JSON_CHARS)]
IdBytes = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Columns(Struct, array_like=True, gc=False):
    """Base of the columns of a `Shape`."""


class CreatedColumns(Columns, Generic[Id]):
    """What a row is created with; a driver says as what it keeps an id."""

    slot_ms: Millis
    schedule_id: Id
    fire_ms: Millis
    created_ms: Millis
    expires_ms: Millis
    attempts: Count
    callback_type: str
    callback_details: bytes
    payload: str
    extras: Json | None


class Shape(Generic[T]):
    """What the columns of a record may hold.

    Args:
        columns: a `Struct` with `array_like`, its fields named as the columns.
    """

    def __init__(self, columns: type[T]) -> None:
        self._one = columns
        self._many = list[columns]  # type: ignore[valid-type]
        self._names: tuple[str, ...] = columns.__struct_fields__  # type: ignore[attr-defined]

    def fits(self, records: Sequence[tuple[Any, ...]]) -> bool:
        """Whether every record may be read."""
        try:
            convert(records, self._many, builtin_types=_NATIVE)
        except ValidationError:
            return False
        return True

    def check(self, record: tuple[Any, ...]) -> None:
        """Raise ValueError, which names the column and says what is wrong with it."""
        try:
            convert(record, self._one, builtin_types=_NATIVE)
        except ValidationError as error:
            raise ValueError(self._named(str(error))) from None

    def _named(self, message: str) -> str:
        path = _IN_PATH.search(message)
        index = re.match(r"\[(\d+)\]", path[1]) if path else None
        if path is None or index is None:
            return message
        return f"{self._names[int(index[1])]}: {message[: path.start()]}"


def fault_of(error: Exception) -> str:
    """Return what is wrong, short, and as text that every store takes."""
    text = str(error) if isinstance(error, (ValueError, MsgspecError)) else f"{type(error).__name__}: {error}"
    return text[:MOST_FAULT_CHARS].encode(errors="replace").decode()


def read_json(column: str, decode: Callable[[str], T], text: str, least: int = 0) -> T:
    """Return the model that a JSON cell holds. Raises ValueError, which names the column.

    Args:
        least: the smallest value of its numbers; instants and durations end at `LAST_MS`.
    """
    try:
        if len(text) > _MOST_JSON_CHARS:
            raise ValueError(f"more than {_MOST_JSON_CHARS} characters")
        model = decode(text)
        _check_numbers(model, least)
    except Exception as error:  # noqa: BLE001 - whatever text makes the decoder do
        raise ValueError(f"{column}: {fault_of(error)}") from None
    return model


def read_marks(sealed_ms: object, settled_ms: object) -> Marks:
    """Return the marks that these cells hold, or `DAMAGED_MARKS`."""
    if not isinstance(sealed_ms, int) or not isinstance(settled_ms, int):
        return DAMAGED_MARKS
    is_sound = 0 <= sealed_ms <= LAST_MS and 0 <= settled_ms <= LAST_MS
    return Marks(sealed_ms, settled_ms) if is_sound else DAMAGED_MARKS


def read_term(term: object) -> int:
    """Return the term that this cell holds; 0, as of an instance nobody owned yet, if it holds none."""
    return term if isinstance(term, int) and term >= 0 else 0


def check_details(details: bytes) -> None:
    """Raise ValueError if the details of a callback are no JSON object."""
    if len(details) <= _SHORT_BYTES:
        _check_short(details)
    else:
        _check_details(details)


def _check_details(details: bytes) -> None:
    try:
        _decode_details(details)
    except (ValueError, MsgspecError, RecursionError) as error:
        raise ValueError(f"callback_details: {fault_of(error)}") from None


#: Most schedules of an app have one of few callbacks.
_check_short = lru_cache(maxsize=1_024)(_check_details)


def _check_numbers(value: object, least: int) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_numbers(item, least)
        return
    of: Any = value.__class__
    if (limits := _limits_of(of)) is not None:
        for name, most, _ in limits:
            found = getattr(value, name)
            kind = found.__class__
            if kind is int or kind is float:
                if not least <= found <= most:
                    raise ValueError(f"{name} is out of range: {found}")
            elif kind not in _NO_NUMBERS:
                _check_numbers(found, least)


_NO_NUMBERS = {bool, bytes, str, type(None), UUID}


@lru_cache(maxsize=256)
def _limits_of(kind: type) -> tuple[tuple[str, int, object], ...] | None:
    """Return of each field of a dataclass its name, the most that it may be if it is a number, and its
    default; None: it is no dataclass. To ask for them costs more than what is done with them."""
    if not is_dataclass(kind):
        return None
    return tuple(
        (field.name, LAST_MS if field.name.endswith("_ms") else _MOST, field.default)
        for field in fields(kind)
    )


_encode = Encoder().encode


def encode_slim(model: object) -> bytes:
    """Return a dataclass, or a tuple of them, as JSON."""
    return _encode(_slim(model))


def _slim(value: object) -> object:
    kind: Any = value.__class__
    if kind in _PLAIN:
        return value
    if isinstance(value, tuple):
        return [_slim(item) for item in value]
    if (limits := _limits_of(kind)) is not None:
        found = ((name, getattr(value, name), default) for name, _, default in limits)
        return {name: _slim(item) for name, item, default in found if item != default}
    return value


_PLAIN = {*_NO_NUMBERS, int, float}


# Rows and outcomes


@dataclass(frozen=True, slots=True)
class Extras:
    """The fields of a row, or of an outcome (`replay`, `log`, `changed_in`), that mostly have their
    defaults."""

    retry: RetryRules | None = None
    replay: int = 0
    log: tuple[Attempt, ...] = ()
    run: RunOf | None = None
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    change: Change | None = None
    sending: Sending | None = None
    changed_in: Place | None = None
    accepted_ms: int | None = None
    trace: Trace | None = None


NO_EXTRAS = Extras()

decode_extras = Decoder(Extras).decode
decode_outcome = Decoder(Outcome).decode


def encode_row_extras(row: Row) -> bytes | None:
    """Return the extras of a row; None, as for nearly every row, if it has none."""
    schedule, change = row.schedule, row.change
    retry, run, name, labels = schedule.retry, schedule.run, schedule.name, schedule.labels
    is_plain = retry is None and run is None and change is None and not labels and not name
    sending, trace = schedule.sending, schedule.trace
    if is_plain and sending is None and trace is None and not row.replay and not row.log:
        return None
    return encode_slim(Extras(retry, row.replay, row.log, run, name, labels, change, sending, trace=trace))


def encode_outcome_extras(outcome: Outcome) -> bytes | None:
    """Return the extras of an outcome; None if it has none."""
    changed_in, accepted_ms = outcome.changed_in, outcome.accepted_ms
    if not outcome.replay and not outcome.log and changed_in is None and accepted_ms is None:
        return None
    return encode_slim(
        Extras(replay=outcome.replay, log=outcome.log, changed_in=changed_in, accepted_ms=accepted_ms)
    )


class _OutcomeText(Struct, omit_defaults=True):
    """`Outcome` spelled so that msgspec leaves the defaults out: one is written for each delivery, and this
    takes 0.9 us where `encode_slim` takes 4.5."""

    status: Status
    ended_ms: int
    fired_ms: int | None
    attempts: int
    code: int | None = None
    error: str = ""
    took_ms: int | None = None
    replay: int = 0
    log: Raw | None = None
    changed_in: Place | None = None
    accepted_ms: int | None = None


def encode_outcome(outcome: Outcome) -> bytes:
    """Return a whole outcome as one JSON object."""
    return _encode(
        _OutcomeText(
            outcome.status,
            outcome.ended_ms,
            outcome.fired_ms,
            outcome.attempts,
            outcome.code,
            outcome.error,
            outcome.took_ms,
            outcome.replay,
            Raw(encode_slim(outcome.log)) if outcome.log else None,
            outcome.changed_in,
            outcome.accepted_ms,
        )
    )


def read_extras(text: str, column: str = "extras") -> Extras:
    """Return the extras of a row or an outcome. Raises ValueError."""
    return read_json(column, decode_extras, text)


def read_outcome(text: str) -> Outcome:
    """Return a whole outcome. Raises ValueError."""
    return read_json("outcome", decode_outcome, text)


def to_live_rows(
    app_id: str, partition: int, schedule_ids: Iterable[UUID], records: Iterable[tuple[Any, ...]]
) -> list[Row]:
    """Make rows that nothing was written to later. Raises ValueError for extras that cannot be read.

    Args:
        schedule_ids: one a record, whose own is passed over: each driver keeps ids in a type of its own.
        records: slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts, callback_type,
            callback_details, payload, extras; checked before.
    """
    return [
        Row(
            schedule=Schedule(
                schedule_id=schedule_id,
                app_id=app_id,
                fire_ms=fire_ms,
                payload=payload,
                callback_type=callback_type,
                callback_details=details,
                created_ms=created_ms,
                expires_ms=expires_ms,
                retry=extras.retry,
                run=extras.run,
                name=extras.name,
                labels=extras.labels,
                sending=extras.sending,
                trace=extras.trace,
            ),
            place=Place(app_id, partition, slot_ms),
            attempts=attempts,
            replay=extras.replay,
            log=extras.log,
            change=extras.change,
        )
        for schedule_id, (
            slot_ms,
            _,
            fire_ms,
            created_ms,
            expires_ms,
            attempts,
            callback_type,
            details,
            payload,
            text,
        ) in zip(schedule_ids, records, strict=True)
        for extras in (NO_EXTRAS if text is None else read_extras(text),)
    ]


def to_written_row(
    place: Place,
    schedule_id: UUID,
    created: Sequence[Any],
    *,
    cancelled_ms: int | None,
    moved_to: Place | None,
    outcome: Outcome | None,
) -> Row:
    """Make one row with what was written to it later. Raises ValueError for extras that cannot be read.

    Args:
        created: the columns `to_live_rows` takes.
    """
    _, _, fire_ms, created_ms, expires_ms, attempts, callback_type, details, payload, text = created
    extras = NO_EXTRAS if text is None else read_extras(text)
    return Row(
        schedule=Schedule(
            schedule_id=schedule_id,
            app_id=place.app_id,
            fire_ms=fire_ms,
            payload=payload,
            callback_type=callback_type,
            callback_details=details,
            created_ms=created_ms,
            expires_ms=expires_ms,
            retry=extras.retry,
            run=extras.run,
            name=extras.name,
            labels=extras.labels,
            sending=extras.sending,
            trace=extras.trace,
        ),
        place=place,
        attempts=attempts,
        replay=extras.replay,
        log=extras.log,
        change=extras.change,
        cancelled_ms=cancelled_ms,
        moved_to=moved_to,
        outcome=outcome,
    )


# Apps

APP_COLUMNS = (
    "app_id, number, writable, polled, active, version, created_ms, configuration, secrets, resize,"
    " halted_ms, deletion, shadow"
)

_Partitions = Annotated[int, Meta(ge=1, le=MAX_PARTITIONS)]


class _AppColumns(Columns):
    app_id: str
    number: Annotated[int, Meta(ge=0, lt=MAX_APPS)]
    writable: _Partitions
    polled: _Partitions
    active: bool | Annotated[int, Meta(ge=0, le=1)]
    version: Count
    created_ms: Millis
    configuration: Json
    secrets: Json | None
    resize: Json | None
    halted_ms: Millis | None
    deletion: Json | None
    shadow: Json | None


_APP = Shape(_AppColumns)
NO_NUMBER = -1  #: of an app whose number cannot be read either

decode_configuration = Decoder(AppConfiguration).decode
_decode_deletion = Decoder(Deletion).decode
_decode_resize = Decoder(Resize).decode
_decode_shadow = Decoder(Shadow).decode
_decode_secrets = Decoder(tuple[SigningSecret, ...]).decode


def encode_configuration(configuration: AppConfiguration) -> str:
    """Return a JSON object without the fields that are None."""
    return encode_slim(configuration).decode()


def encode_secrets(secrets: tuple[SigningSecret, ...]) -> str:
    """Return a JSON array."""
    return encode_slim(secrets).decode()


def decode_secrets(text: str | None) -> tuple[SigningSecret, ...]:
    """Read a JSON array; None, as an app from before there were secrets has it, holds none."""
    return () if text is None else _decode_secrets(text)


def encode_resize(resize: Resize | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if resize is None else encode_slim(resize).decode()


def encode_deletion(deletion: Deletion | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if deletion is None else encode_slim(deletion).decode()


def encode_shadow(shadow: Shadow | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if shadow is None else encode_slim(shadow).decode()


def read_app(record: tuple[Any, ...]) -> App:
    """Read a record of `APP_COLUMNS`; of one that is damaged, what can be told of it and its `damage`."""
    (
        app_id,
        number,
        writable,
        polled,
        active,
        version,
        created_ms,
        configuration,
        secrets,
        resize,
        halted_ms,
        deletion,
        shadow,
    ) = record
    try:
        _APP.check(record)
        if polled < writable:
            raise ValueError(f"polled: {polled}, less than the {writable} writable partitions")
        return App(
            app_id=app_id,
            number=number,
            writable=writable,
            polled=polled,
            active=bool(active),
            version=version,
            created_ms=created_ms,
            configuration=read_json("configuration", decode_configuration, configuration, least=1),
            secrets=read_json("secrets", decode_secrets, secrets or "[]"),
            resize=None if resize is None else read_json("resize", _decode_resize, resize),
            halted_ms=halted_ms,
            deletion=None if deletion is None else read_json("deletion", _decode_deletion, deletion),
            shadow=None if shadow is None else read_json("shadow", _decode_shadow, shadow),
        )
    except ValueError as error:
        return App(
            app_id=app_id if isinstance(app_id, str) else str(app_id),
            number=number if isinstance(number, int) and 0 <= number < MAX_APPS else NO_NUMBER,
            writable=0,
            polled=0,
            active=False,
            version=0,
            created_ms=0,
            damage=fault_of(error),
        )


# Recurring schedules: the payload has a column of its own, since JSON may be no longer than it may be.

_decode_definition = Decoder(Definition).decode


def encode_definition(definition: Definition) -> str:
    """Return a JSON object without the payload."""
    earlier = tuple(replace(span, exclusions=NO_EXCLUSIONS) for span in definition.earlier)
    stored = replace(definition, payload="", exclusions=NO_EXCLUSIONS, earlier=earlier)
    return encode_slim(stored).decode()


def read_definition(
    app_id: str, recurring_id: UUID, revision: object, text: object, payload: object
) -> Definition:
    """Read key and columns of a definition; of one that is damaged, its key and its `damage`."""
    try:
        if not isinstance(text, str) or not isinstance(payload, str):
            raise ValueError("definition and payload: must be text")
        definition = read_json("definition", _decode_definition, text)
        if (definition.app_id, definition.recurring_id, definition.revision) != (
            app_id,
            recurring_id,
            revision,
        ):
            raise ValueError("definition: it is that of another key or revision")
        return replace(definition, payload=payload)
    except ValueError as error:
        known = revision if isinstance(revision, int) else 0
        return _damaged_definition(app_id, recurring_id, known, fault_of(error))


class _CalendarColumns(Columns):
    revision: Count
    changed_ms: Millis
    is_deleted: bool | Annotated[int, Meta(ge=0, le=1)]
    calendar: Json


_CALENDAR = Shape(_CalendarColumns)
_encode_exclusions = Encoder().encode
_decode_exclusions = Decoder(Exclusions).decode


def encode_calendar(calendar: Calendar) -> tuple[int, int, bool, str]:
    """Return the columns `revision`, `changed_ms`, `is_deleted` and `calendar`, which is a JSON object."""
    said = calendar.exclusions
    text = _encode_exclusions({"dates": sorted(said.dates), "spans": said.spans}).decode()
    return calendar.revision, calendar.changed_ms, calendar.is_deleted, text


def read_calendar(
    app_id: str, name: str, revision: Any, changed_ms: Any, is_deleted: Any, text: Any
) -> Calendar:
    """Read key and columns of a calendar; of one that is damaged, its key and its `damage`."""
    known = revision if isinstance(revision, int) else 0
    try:
        _CALENDAR.check((revision, changed_ms, is_deleted, text))
        return Calendar(
            app_id=app_id,
            name=name,
            revision=known,
            changed_ms=changed_ms,
            exclusions=read_json("calendar", _decode_exclusions, text),
            is_deleted=bool(is_deleted),
        )
    except ValueError as error:
        return Calendar(
            app_id=app_id,
            name=name,
            revision=known,
            changed_ms=0,
            exclusions=NO_EXCLUSIONS,
            damage=fault_of(error),
        )


def _damaged_definition(app_id: str, recurring_id: UUID, revision: int, fault: str) -> Definition:
    """Return what can be said of a definition that cannot be read."""
    return Definition(
        recurring_id=recurring_id,
        app_id=app_id,
        name="",
        revision=revision,
        version=0,
        times=Times(),
        payload="",
        callback_type="",
        callback_details=b"{}",
        created_ms=0,
        changed_ms=0,
        partition=0,
        from_ms=0,
        starts_after_ms=0,
        state=DefinitionState.ENDED,
        damage=fault,
    )


# Claims: the key is that of the record

_ClaimText = tuple[UUID, str, Millis, Millis, Millis]
_decode_claim = Decoder(_ClaimText).decode


def encode_claim(claim: Claim) -> str:
    """Return a JSON array, the same text for the same claim."""
    times = (claim.claimed_ms, claim.busy_until_ms, claim.expires_ms)
    return _encode([claim.schedule_id, claim.digest, *times]).decode()


def read_claim(key: ClaimKey, text: object) -> Claim:
    """Read a claim. Raises Damaged."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"claim: must be text, not {type(text).__name__}")
        schedule_id, digest, claimed_ms, busy_until_ms, expires_ms = read_json("claim", _decode_claim, text)
    except ValueError as error:
        raise Damaged(key.kind.value, key.text, fault_of(error)) from None
    return Claim(
        key=key,
        schedule_id=schedule_id,
        digest=digest,
        claimed_ms=claimed_ms,
        busy_until_ms=busy_until_ms,
        expires_ms=expires_ms,
    )


# Bulk jobs.

_decode_job = Decoder(Job).decode


def encode_job(job: Job) -> str:
    """Return a JSON object."""
    return encode_slim(job).decode()


def read_job(app_id: str, job_id: UUID, revision: object, text: object) -> Job:
    """Read key and columns of a job; of one that is damaged, its key and its `damage`."""
    try:
        if not isinstance(text, str):
            raise ValueError("job: must be text")
        job = read_json("job", _decode_job, text)
        if (job.app_id, job.job_id, job.revision) != (app_id, job_id, revision):
            raise ValueError("job: it is that of another key or revision")
        return job
    except ValueError as error:
        return Job(
            job_id=job_id,
            app_id=app_id,
            app_number=0,
            action=JobAction.DELETE,
            start_ms=0,
            end_ms=0,
            created_ms=0,
            changed_ms=0,
            revision=revision if isinstance(revision, int) else 0,
            state=JobState.FAILED,
            damage=fault_of(error),
        )


def sound_job(job: Job | None) -> Job | None:
    """Return a job that was read alone. Raises Damaged."""
    if job is not None and job.damage:
        raise Damaged("job", str(job.job_id), job.damage)
    return job


# Dead letters: when one was filed again is a column of its own, so that a delivery repeated after a crash,
# which writes the letter once more, does not undo it.

_decode_letter = Decoder(DeadLetter).decode


def encode_letter(letter: DeadLetter) -> str:
    """Return a JSON object without `replayed_ms`, which is None in a letter that is written."""
    return encode_slim(letter).decode()


def read_letter(
    app_id: str, slot_ms: int, schedule_id: UUID, text: object, replayed_ms: object
) -> DeadLetter:
    """Read key and columns of a dead letter; of one that is damaged, what can be told of it."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"letter: must be text, not {type(text).__name__}")
        if replayed_ms is not None and not isinstance(replayed_ms, int):
            raise ValueError(f"replayed_ms: must be a number, not {type(replayed_ms).__name__}")
        return read_json("letter", lambda text: decode_letter(text, replayed_ms), text)
    except ValueError as error:
        return _damaged_letter(app_id, slot_ms, schedule_id, fault_of(error))


def decode_letter(text: str, replayed_ms: int | None) -> DeadLetter:
    """Read both columns."""
    letter = _decode_letter(text)
    return letter if replayed_ms is None else replace(letter, replayed_ms=replayed_ms)


def _damaged_letter(app_id: str, slot_ms: int, schedule_id: UUID, fault: str) -> DeadLetter:
    """Return what can be said of a dead letter that cannot be read: its key, and why."""
    return DeadLetter(
        app_id=app_id,
        schedule_id=schedule_id,
        slot_ms=slot_ms,
        fire_ms=slot_ms,
        failed_ms=slot_ms,
        attempts=0,
        error=f"this dead letter cannot be read: {fault}"[:MOST_FAULT_CHARS],
        callback_type="",
        expires_ms=slot_ms,
    )


# Entries of the audit log

decode_entry = Decoder(AuditEntry).decode


def read_entry(at_ms: int, entry_id: UUID, text: object) -> AuditEntry:
    """Read key and column of an entry; of one that is damaged, what can be told of it."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"entry: must be text, not {type(text).__name__}")
        return read_json("entry", decode_entry, text)
    except ValueError as error:
        return _damaged_entry(at_ms, entry_id, fault_of(error))


def encode_entry(entry: AuditEntry) -> str:
    """Return a JSON object."""
    return encode_slim(entry).decode()


def _damaged_entry(at_ms: int, entry_id: UUID, fault: str) -> AuditEntry:
    """Return what can be said of an entry that cannot be read: its key, and why."""
    subject = f"this entry cannot be read: {fault}"[:MOST_FAULT_CHARS]
    return AuditEntry(entry_id=entry_id, at_ms=at_ms, operator="", action="", subject=subject)


# API keys: what never changes of one is a JSON object; when it was revoked, and last used, are cells of their
# own.


PerSecond = Annotated[int, Meta(ge=1)]


class _KeyFacts(Struct):
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[str, ...]
    apps: tuple[str, ...] | None
    label: str
    created_ms: Millis
    expires_ms: Millis | None = None
    requests_per_second: PerSecond | None = None
    creates_per_second: PerSecond | None = None


class _KeyColumns(Columns):
    key_id: str
    facts: Json
    revoked_ms: Millis | None
    used_ms: Millis | None
    retires_ms: Millis | None


_KEY = Shape(_KeyColumns)
_decode_facts = Decoder(_KeyFacts).decode


def encode_api_key(key: ApiKey) -> str:
    """Return what never changes of a key as a JSON object."""
    grant = key.grant
    facts = _KeyFacts(
        digest=key.digest.hex(),
        scopes=tuple(sorted(grant.scopes)),
        apps=None if grant.apps is None else tuple(sorted(grant.apps)),
        label=key.label,
        created_ms=key.created_ms,
        expires_ms=key.expires_ms,
        requests_per_second=key.requests_per_second,
        creates_per_second=key.creates_per_second,
    )
    return _encode(facts).decode()


def read_api_key(key_id: str, text: Any, revoked_ms: Any, used_ms: Any, retires_ms: Any) -> ApiKey:
    """Read id and columns of a key; of one that is damaged, its id and its `damage`. Scopes that are not
    known here, as a later version may give them, are passed over."""
    try:
        _KEY.check((key_id, text, revoked_ms, used_ms, retires_ms))
        facts = read_json("facts", _decode_facts, text)
        return ApiKey(
            key_id=key_id,
            digest=bytes.fromhex(facts.digest),
            grant=grant_of((SCOPES[word] for word in facts.scopes if word in SCOPES), facts.apps),
            label=facts.label,
            created_ms=facts.created_ms,
            expires_ms=facts.expires_ms,
            requests_per_second=facts.requests_per_second,
            creates_per_second=facts.creates_per_second,
            retires_ms=retires_ms,
            revoked_ms=revoked_ms,
            used_ms=used_ms,
        )
    except ValueError as error:
        return ApiKey(
            key_id=key_id,
            digest=b"",
            grant=grant_of((), ()),
            label="",
            created_ms=0,
            damage=fault_of(error),
        )


# What came by the tap: the key of the record is left out.


class _TapText(Struct, omit_defaults=True):
    fire_ms: Millis
    at_ms: Millis
    expires_ms: Millis
    is_passed: bool
    took_ms: Millis | None = None
    code: int | None = None
    error: str = ""


_decode_tap = Decoder(_TapText).decode


def encode_tap(tap: Tap) -> str:
    """Return a JSON object."""
    text = _TapText(tap.fire_ms, tap.at_ms, tap.expires_ms, tap.is_passed, tap.took_ms, tap.code, tap.error)
    return _encode(text).decode()


def read_tap(app_id: str, schedule_id: UUID, tap_id: UUID, text: object) -> Tap:
    """Read key and column. Raises Damaged."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"tap: must be text, not {type(text).__name__}")
        said = read_json("tap", _decode_tap, text)
    except ValueError as error:
        raise Damaged("tap of schedule", str(schedule_id), fault_of(error)) from None
    return Tap(
        app_id=app_id,
        schedule_id=schedule_id,
        tap_id=tap_id,
        fire_ms=said.fire_ms,
        at_ms=said.at_ms,
        expires_ms=said.expires_ms,
        is_passed=said.is_passed,
        took_ms=said.took_ms,
        code=said.code,
        error=said.error,
    )


# The part map: the count that is written has a column of its own, and was the only one at first.

_decode_parts = Decoder(PartMap).decode


def read_parts(number: object, note: object) -> PartMap:
    """Read both columns. Raises Damaged."""
    try:
        if not isinstance(number, int) or not isinstance(note, str | None):
            raise ValueError("number and note: must be a number and text")
        parts = PartMap(number) if note is None else read_json("note", _decode_parts, note)
        if parts.written != number or not all(map(is_part_count, parts.read)):
            raise ValueError(f"number: {number}, and {parts.read} in note, are no part counts")
    except ValueError as error:
        raise Damaged("meta", "part map", fault_of(error)) from None
    return parts


def encode_parts(parts: PartMap) -> str | None:
    """Return a JSON object; None: nobody ever changed the map."""
    return encode_slim(parts).decode() if parts.version else None
