"""Records that are a key and one text, or little more: claims, jobs, dead letters, entries of the audit log,
API keys, what came by the tap, the part map."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.json import Decoder

from ringtime_shared.access.grants import SCOPES, grant_of
from ringtime_shared.access.keys import ApiKey
from ringtime_shared.errors import Damaged
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job, JobAction, JobState
from ringtime_shared.models.shadow import Tap
from ringtime_shared.parts import PartMap, is_part_count
from ringtime_shared.stores.codec.cells import (
    MOST_FAULT_CHARS,
    Columns,
    Json,
    Millis,
    Shape,
    encode,
    encode_slim,
    fault_of,
    read_json,
)

# Claims: the key is that of the record

_ClaimText = tuple[UUID, str, Millis, Millis, Millis]
_decode_claim = Decoder(_ClaimText).decode


def encode_claim(claim: Claim) -> str:
    """Return a JSON array, the same text for the same claim."""
    times = (claim.claimed_ms, claim.busy_until_ms, claim.expires_ms)
    return encode([claim.schedule_id, claim.digest, *times]).decode()


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
    return encode(facts).decode()


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
    return encode(text).decode()


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
