"""Runs whose receiver answers 202, works on, and says by a signed URL when it is done: what holds.

    answer 202   ACCEPTED is filed for the end of its time -> the home row points there: it has no outcome
    completion   COMPLETED is filed just behind the home row -> the caller is answered
    its read     the owner looks at the home row; without an outcome, this is it, with hook and dead letter
    end of time  ACCEPTED comes due, and its owner looks for COMPLETED; without one the run has failed

All of it is filings of the run's schedule, so what holds for those holds here: they are durable, sure to be
read, sent or ended by one owner at a time, and recorded once. A run is running while its home row has no
outcome, which is what the overlap policy of the next one looks at; no memory of any process takes part.

COMPLETED lies at a place that follows from the run's id (`place_of_word`), so that it can be looked for,
however late it is read; where that is sealed already, as it mostly is, the commit path files it again, and
points at that. ACCEPTED is noted at such a place, too (`place_of_note`), before it is filed: any other filing
of the run, as it has one where two owners filed it again, looks there before it is sent. Who happens to read
the note itself files what it notes.

| what happens | what comes of it |
|---|---|
| the owner dies before ACCEPTED is pointed at | the run is sent again, as it is after any lost answer |
| COMPLETED is filed before that, or while a retry waits | it ends the run, whatever is pointed at |
| whoever files it dies before it is sure to be read | the end of its time finds it; or a repeat files it |
| it is read late, or never heard of | the same |
| the owner dies between the note and ACCEPTED | who finds the note files that; else it is sent again |
| it is called twice | it is the same filing |
| it is called with another result | the first one stands; later callers are told of it |
| it is called when the run is cancelled | refused |
| the run is cancelled when it was called, or at that moment | it stands: that cancel is not promised |
| its write takes until the end of time | the caller is told that the outcome is unknown |
| it is called after its end, or with a token that is not ours | refused, and nothing is read of the store |

A token holds all there is to know, and a MAC of it under `completion.secret`: whoever has it may end this
delivery of this run and nothing else, so another run, app or replay is safe from it. It is no use longer than
the attempt and the work may take. Receivers should treat it as a password; it is in no answer of the API.

Source: H. Krawczyk et al., "HMAC: Keyed-Hashing for Message Authentication", RFC 2104, 1997.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from struct import Struct
from typing import Self
from uuid import UUID

from ringtime_shared.api.completions import PATH, URL_CHARS
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.models.recurring import RunOf, Stage, Work
from ringtime_shared.models.schedule import Outcome, Place, Row, Schedule, Status
from ringtime_shared.schedules.changing import slot_again
from ringtime_shared.settings import CompletionSettings

GRACE_MS = 5_000  #: between the end of a receiver's time and what records it: what a completion may take
_SURE_MS = 1_000  #: before that a completion was durable, if it is to count: more than clocks differ
NOT_IN_TIME = "accepted, and not completed in time"
ACCEPTED_CODE = 202
_SLACK_MS = 60_000  #: more than clocks of two machines differ by
_MAC_BYTES = 16
_FIELDS = Struct(">B16sIIqq")  #: form, schedule id, replay, attempt, when sent, from when on it is no use
_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a completion URL is for: one attempt of a run."""

    app_id: str
    schedule_id: UUID
    replay: int
    attempt: int
    sent_ms: int
    expires_ms: int  #: it is no use from then on


class Completions:
    """Makes and reads completion URLs."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._base_url = base_url
        self._key = secret.encode()

    @classmethod
    def of(cls, settings: CompletionSettings) -> Self | None:
        """None: the settings have none."""
        return cls(settings.base_url, settings.secret) if settings.secret and settings.base_url else None

    def url_of(self, ticket: Ticket) -> str:
        """Return the URL to call when the work is done."""
        return f"{self._base_url}{PATH}/{self.sign(ticket)}"

    def sign(self, ticket: Ticket) -> str:
        """Return a ticket as text that `read` takes: letters, digits, `-` and `_`."""
        told = _FIELDS.pack(
            _FORM,
            ticket.schedule_id.bytes,
            ticket.replay,
            ticket.attempt,
            ticket.sent_ms,
            ticket.expires_ms,
        )
        told += ticket.app_id.encode()
        return urlsafe_b64encode(told + self._mac(told)).rstrip(b"=").decode()

    def read(self, token: str, now_ms: int) -> Ticket:
        """Return the ticket of a token. Raises ValueError if it is not ours, or no use any more."""
        if len(token) > URL_CHARS or not token.isascii():
            raise ValueError("no token")
        try:
            signed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            raise ValueError("no token") from None
        told, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if len(told) <= _FIELDS.size or not hmac.compare_digest(mac, self._mac(told)):
            raise ValueError("not signed by us")
        form, schedule_id, replay, attempt, sent_ms, expires_ms = _FIELDS.unpack_from(told)
        app_id = told[_FIELDS.size :].decode()
        if form != _FORM or check_app_id(app_id) or now_ms >= expires_ms:
            raise ValueError("no use any more")
        return Ticket(
            app_id=app_id,
            schedule_id=UUID(bytes=schedule_id),
            replay=replay,
            attempt=attempt,
            sent_ms=sent_ms,
            expires_ms=expires_ms,
        )

    def _mac(self, told: bytes) -> bytes:
        return hmac.digest(self._key, told, "sha256")[:_MAC_BYTES]


def ticket_of(delivery: Delivery, *, now_ms: int, most_ms: int) -> Ticket:
    """Return the ticket of an attempt that is sent now.

    Args:
        most_ms: what attempt and work may take together.
    """
    return Ticket(
        app_id=delivery.schedule.app_id,
        schedule_id=delivery.schedule.schedule_id,
        replay=delivery.replay,
        attempt=delivery.attempt,
        sent_ms=now_ms,
        expires_ms=now_ms + most_ms + _SLACK_MS,
    )


def completion_ms_of(schedule: Schedule) -> int | None:
    """Return how long a receiver that answers 202 may work on a run; None: its answer is the end."""
    return None if schedule.sending is None or schedule.run is None else schedule.sending.completion_ms


def accepted(row: Row, *, sent_ms: int, now_ms: int, completion_ms: int, last_ms: int) -> Row:
    """Return the filing of a run whose receiver answered 202 just now: it comes due when its time is over.

    Args:
        last_ms: the last slot it may have.
    """
    until_ms = min(now_ms + completion_ms, last_ms - GRACE_MS)
    work = Work(sent_ms=sent_ms, attempt=row.attempts + 1, accepted_ms=now_ms, until_ms=until_ms)
    slot_ms = slot_again(row.schedule.schedule_id, max(until_ms, now_ms) + GRACE_MS)
    return _worked_on(replace(row, place=row.place._replace(slot_ms=slot_ms)), Stage.ACCEPTED, work)


def place_of_word(app_id: str, schedule_id: UUID, replay: int) -> Place:
    """Return where it is noted what the receiver of a run said: an odd slot, as no other filing of it has."""
    home = Place.of_home(app_id, schedule_id)
    return home._replace(slot_ms=(home.slot_ms + 1 | 1) + 4 * replay)


def place_of_note(app_id: str, schedule_id: UUID, replay: int) -> Place:
    """Return where it is noted that a receiver works on a run."""
    place = place_of_word(app_id, schedule_id, replay)
    return place._replace(slot_ms=place.slot_ms + 2)


def sure_until_ms(row: Row, ticket: Ticket) -> int:
    """Return until when a completion must be durable to be found by who ends the run.

    Args:
        row: the latest filing of the run that is known.
    """
    work = row.schedule.work
    until_ms = None if work is None else work.until_ms
    if until_ms is None:
        until_ms = ticket.sent_ms + (completion_ms_of(row.schedule) or 0)
    return until_ms + GRACE_MS - _SURE_MS


def completed(row: Row, ticket: Ticket, *, now_ms: int, error: str) -> Row:
    """Return the filing that records what a receiver said.

    Args:
        row: the latest filing of the run that is known.
        error: why it failed; "": it is done.
    """
    known = row.schedule.work
    base = Work(sent_ms=ticket.sent_ms, attempt=ticket.attempt) if known is None else known
    schedule_id = row.schedule.schedule_id
    place = place_of_word(row.place.app_id, schedule_id, ticket.replay)
    row = replace(row, place=place, replay=ticket.replay, moved_to=None, outcome=None, cancelled_ms=None)
    return _worked_on(row, Stage.COMPLETED, replace(base, ended_ms=now_ms, error=error))


def noted(accepted: Row) -> Row:
    """Return the note of an ACCEPTED filing; nobody need read it."""
    place = place_of_note(accepted.place.app_id, accepted.schedule.schedule_id, accepted.replay)
    return replace(accepted, place=place)


def accepted_again(row: Row, note: Row | None) -> Row | None:
    """Return the ACCEPTED filing to put in place of another one of the run; None: nobody works on that.

    Args:
        note: what is stored at `place_of_note`.
    """
    work = None if note is None else note.schedule.work
    if work is None or work.until_ms is None:
        return None
    slot_ms = slot_again(row.schedule.schedule_id, max(work.until_ms + GRACE_MS, row.place.slot_ms + 1))
    return _worked_on(replace(row, place=row.place._replace(slot_ms=slot_ms)), Stage.ACCEPTED, work)


def told(row: Row, word: Row) -> Row:
    """Return the filing of a run whose time is over as one that records what its receiver said.

    Args:
        word: what is stored at `place_of_word`.
    """
    ours, theirs = row.schedule.work, word.schedule.work
    if ours is None or theirs is None:
        return row
    return _worked_on(row, Stage.COMPLETED, replace(ours, ended_ms=theirs.ended_ms, error=theirs.error))


def _worked_on(row: Row, stage: Stage, work: Work) -> Row:
    run = row.schedule.run
    if run is None:
        raise ValueError(f"schedule {row.schedule.schedule_id} is no run")
    return replace(row, schedule=replace(row.schedule, run=replace(run, stage=stage, work=work)))


def outcome_of_work(row: Row, run: RunOf, now_ms: int) -> Outcome:
    """Return how a run ends whose work is done, or whose time for it is over."""
    work = run.work
    if work is None:
        raise ValueError(f"schedule {row.schedule.schedule_id} is not worked on")
    error = work.error if work.ended_ms is not None else NOT_IN_TIME
    return Outcome(
        status=Status.FAILURE if error else Status.SUCCESS,
        ended_ms=now_ms if work.ended_ms is None else work.ended_ms,
        fired_ms=work.sent_ms,
        attempts=work.attempt,
        code=None if work.accepted_ms is None else ACCEPTED_CODE,
        error=error,
        took_ms=None if work.accepted_ms is None else work.accepted_ms - work.sent_ms,
        replay=row.replay,
        log=row.log,
        accepted_ms=work.accepted_ms,
    )
