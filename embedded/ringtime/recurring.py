"""The verbs of recurring schedules, of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import orjson

from ringtime.instants import to_ms
from ringtime_client import Callback, HttpCallbackDetails, RecurringTimes
from ringtime_ingest.service import IngestService, NewRecurring
from ringtime_ingest.service.backfill import BackfillReport
from ringtime_ingest.service.recurring import DefinitionPage
from ringtime_ingest.service.runs import RunPage
from ringtime_shared.api.recurring import BACKFILL_SIZE, LIST_SIZE, MAX_PREVIEW, PREVIEW_SIZE
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.auditing import asked_of_library
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.recurring import (
    SHOWN,
    Definition,
    DefinitionState,
    Misfire,
    Overlap,
)
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.times import Omitted, Run
from ringtime_shared.recurring.parsing import parse_times, patch_times

_SECOND = timedelta(seconds=1)


class RecurringVerbs(ABC):
    """What `Ringtime` does with recurring schedules; the names are those of the clients."""

    @property
    @abstractmethod
    def _service(self) -> IngestService:
        """What runs. Raises RuntimeError outside `async with`."""

    @checked
    @asked_of_library("recurring put")
    async def put_recurring(
        self,
        app_id: str,
        name: str,
        *,
        times: RecurringTimes,
        payload: str | bytes,
        callback: Callback,
        retry: RetryRules | None = None,
        misfire: Misfire | None = None,
        misfire_most: int | None = None,
        misfire_age: timedelta | None = None,
        overlap: Overlap | None = None,
        completion: timedelta | None = None,
        keeps: bool | None = None,
        timeout: timedelta | None = None,
        priority: Priority | None = None,
        hooks: Hooks | None = None,
        revision: int | None = None,
    ) -> Definition:
        """Create a recurring schedule, or put it in place of the one of its name, with id and history of
        that. When this returns, its first run is filed; repeating it changes nothing.

        Args:
            name: 1 to 128 letters, digits, `_`, `.` and `-`; unique in the app.
            payload: text, or bytes, which are sent as they are.
            callback: HttpCallbackDetails, or `{"type": name, "details": {...}}` for any type.
            misfire: of the runs that came due while nothing could be sent, which are; None: ONCE.
            misfire_most: how many, of ALL; None: one.
            misfire_age: runs later than this are not made up for, whole seconds; None: the app's bound alone.
            overlap: what becomes of a run that is due before the one before has its outcome; None: ALLOW.
            completion: how long a receiver that answers 202 may take to say that it is done, whole seconds;
                None: its answer is the end.
            keeps: False: it is deleted after its last run; else it is kept, ENDED.
            timeout: of one attempt, instead of the app's.
            priority: among the app's callbacks to one destination, when they have to wait.
            hooks: who is told how a run ended, instead of the app's; `make_hooks` makes them.
            revision: only if it is at this one; 0: only if there is none; None: whatever there is.

        Raises InvalidRequest, NotFound (app), AppInactive, VersionConflict, LimitReached, StoreUnavailable,
        OutcomeUnknown.
        """
        changes = _changes(payload, callback, retry, misfire, misfire_most, misfire_age, overlap, keeps)
        sending = Sending(
            is_base64=isinstance(payload, bytes),
            timeout_ms=ms_of(timeout),
            priority=priority or Priority.NORMAL,
            hooks=hooks,
            completion_ms=_whole_seconds(completion),
        )
        new = NewRecurring(
            app_id=app_id,
            name=name,
            times=parse_times(times.to_json()),
            sending=None if sending == Sending() else sending,
            **changes,
        )
        return await self._service.recurring.put(new, revision)

    @checked
    @asked_of_library("recurring patch")
    async def patch_recurring(
        self,
        app_id: str,
        name: str,
        *,
        times: RecurringTimes | None = None,
        payload: str | bytes | None = None,
        callback: Callback | None = None,
        retry: RetryRules | None = None,
        misfire: Misfire | None = None,
        misfire_most: int | None = None,
        misfire_age: timedelta | None = None,
        overlap: Overlap | None = None,
        completion: timedelta | None = None,
        keeps: bool | None = None,
        timeout: timedelta | None = None,
        priority: Priority | None = None,
        hooks: Hooks | None = None,
        revision: int | None = None,
    ) -> Definition:
        """Change what is given of a recurring schedule, and leave the rest; to take something away, put.

        Arguments are those of `put_recurring`; `callback`, `retry` and `hooks` are replaced whole, of `times`
        what is not None.

        Raises InvalidRequest, NotFound, AppInactive, VersionConflict, StoreUnavailable, OutcomeUnknown.
        """
        given = {} if times is None else times.to_json()
        changes = _changes(payload, callback, retry, misfire, misfire_most, misfire_age, overlap, keeps)

        def change(stored: Definition) -> NewRecurring:
            kept: dict[str, Any] = {
                "payload": stored.payload,
                "callback_type": stored.callback_type,
                "callback_details": orjson.loads(stored.callback_details),
                "retry": stored.retry,
                "sending": stored.sending,
                "misfire": stored.misfire,
                "misfire_most": stored.misfire_most,
                "misfire_age_ms": stored.misfire_age_ms,
                "overlap": stored.overlap,
                "keeps": stored.keeps,
            }
            said: dict[str, Any] = {
                "is_base64": None if payload is None else isinstance(payload, bytes),
                "timeout_ms": ms_of(timeout),
                "priority": priority,
                "hooks": hooks,
                "completion_ms": _whole_seconds(completion),
            }
            if payload is not None:  # whether it is to be encrypted is what its app says now
                said |= {"is_private": False, "is_encrypted": False}
            given_now = {key: value for key, value in said.items() if value is not None}
            sending = replace(stored.sending or Sending(), **given_now)
            kept["sending"] = None if sending == Sending() else sending
            times = parse_times(patch_times(stored.times, given))
            return NewRecurring(app_id=app_id, name=name, times=times, **(kept | changes))

        return await self._service.recurring.patch(app_id, name, change, revision)

    @checked
    async def get_recurring(self, app_id: str, name: str) -> Definition:
        """Return a recurring schedule as it is now. Raises NotFound, Damaged."""
        return await self._service.recurring.fetch(app_id, name)

    @checked
    async def find_recurring(self, recurring_id: UUID | str) -> Definition:
        """Return the recurring schedule of an id, as `schedule.run` of a delivery has it; also one that is
        deleted. Raises InvalidRequest, NotFound, Damaged."""
        return await self._service.recurring.fetch_by_id(cast(UUID, recurring_id))

    @checked
    @asked_of_library("recurring delete")
    async def delete_recurring(self, app_id: str, name: str) -> Definition:
        """Make no more runs of a recurring schedule; those that come due later are not sent. Raises
        NotFound."""
        return await self._service.recurring.delete(await self.get_recurring(app_id, name))

    @checked
    async def list_recurring(
        self, app_id: str, *, state: DefinitionState | None = None, size: int = LIST_SIZE, token: str = ""
    ) -> DefinitionPage:
        """Return a page of an app's recurring schedules, by id.

        Args:
            state: only these; None: all but those that are deleted.
            size: most on the page, 1 to 1,000; a page with a token may hold fewer.
            token: the one of the page before; "": the first page.

        Raises InvalidRequest, NotFound (app).
        """
        states = SHOWN if state is None else (state,)
        return await self._service.recurring.fetch_page(app_id, states, size, token)

    @checked
    @asked_of_library("recurring pause")
    async def pause_recurring(
        self, app_id: str, name: str, *, reason: str = "", until: Instant | None = None
    ) -> Definition:
        """Make no runs of a recurring schedule; what was planned meanwhile is not made up for.

        Args:
            reason: for people, at most 500 characters.
            until: when it makes runs again, timezone-aware; None: when it is resumed.

        Raises InvalidRequest, NotFound, Conflict if it has ended, AppInactive, VersionConflict.
        """
        until_ms = to_ms("until", until)
        definition = await self.get_recurring(app_id, name)
        return await self._service.recurring.pause(definition, reason, until_ms)

    @checked
    @asked_of_library("recurring resume")
    async def resume_recurring(self, app_id: str, name: str) -> Definition:
        """Make runs of a recurring schedule again, from now on.

        Raises NotFound, Conflict if it has ended, AppInactive, VersionConflict.
        """
        return await self._service.recurring.resume(await self.get_recurring(app_id, name))

    @checked
    @asked_of_library("recurring trigger")
    async def trigger_recurring(self, app_id: str, name: str) -> Row:
        """File a run of a recurring schedule now, beside the plan and by its overlap policy; also of one that
        is paused. Raises NotFound, AppInactive, StoreUnavailable, OutcomeUnknown."""
        return await self._service.recurring.trigger(await self.get_recurring(app_id, name))

    @checked
    async def complete_run(self, completion_url: str, *, error: str | None = None) -> UUID:
        """Say that a run is done, or has failed, whose callback was answered 202; return which one. It may be
        repeated.

        Args:
            completion_url: the header `Ringtime-Completion-Url` of the callback.
            error: why it failed, at most 200 characters; None: it is done.

        Raises InvalidRequest, NotFound (it is none of ours, or too late), AlreadyDone if the run has ended in
        another way, StoreUnavailable, OutcomeUnknown.
        """
        ticket, _ = await self._service.completing.complete(completion_url.rpartition("/")[2], error)
        return ticket.schedule_id

    @checked
    @asked_of_library("recurring backfill")
    async def backfill_recurring(
        self,
        app_id: str,
        name: str,
        *,
        start: Instant,
        end: Instant,
        size: int = BACKFILL_SIZE,
        dry_run: bool = False,
    ) -> BackfillReport:
        """File a run for each nominal time of a range that is over and has none; also of a recurring schedule
        that is paused or has ended. Repeated, it files none twice.

        Args:
            start: from this nominal time on, timezone-aware; not before 2020.
            end: up to before this one, which is over.
            size: most nominal times to look at, 1 to 1,000; the report says where the range goes on.
            dry_run: say what would be filed, and file nothing.

        Raises InvalidRequest, NotFound, AppInactive, VersionConflict, StoreUnavailable, OutcomeUnknown.
        """
        from_ms, upto_ms = cast(int, to_ms("start", start)), cast(int, to_ms("end", end))
        definition = await self.get_recurring(app_id, name)
        return await self._service.backfills.backfill(definition, from_ms, upto_ms, most=size, is_dry=dry_run)

    @checked
    async def list_runs(
        self, app_id: str, name: str, *, when: str = "", size: int = LIST_SIZE, token: str = ""
    ) -> RunPage:
        """Return a page of the runs that were filed of a recurring schedule, newest first.

        Args:
            when: `past`: those that are due; `future`: the others, the next one first; "": all.
            size, token: as in `list_recurring`.

        Raises InvalidRequest, NotFound.
        """
        definition = await self.get_recurring(app_id, name)
        return await self._service.runs.fetch_page(definition, when, size, token)

    @checked
    async def preview_recurring(
        self, app_id: str, name: str, *, size: int = PREVIEW_SIZE
    ) -> list[Run | Omitted]:
        """Return the next runs of a recurring schedule, 1 to 100, and what clocks and calendars leave out
        between them. Of one that is paused, those that there would be if it was resumed now.

        Raises InvalidRequest, NotFound.
        """
        _check_size(size)
        return await self._service.runs.preview(await self.get_recurring(app_id, name), size)

    @checked
    async def preview_times(
        self, app_id: str, *, times: RecurringTimes, size: int = PREVIEW_SIZE
    ) -> list[Run | Omitted]:
        """Return the same of times that are not stored. Raises InvalidRequest."""
        _check_size(size)
        return await self._service.runs.preview_times(app_id, parse_times(times.to_json()), size)


def details_of(callback: Callback) -> tuple[str, dict[str, object]]:
    """Return type and details of a callback. Raises InvalidRequest."""
    shown: Mapping[str, object] = (
        callback.to_json() if isinstance(callback, HttpCallbackDetails) else callback
    )
    kind, details = shown.get("type"), shown.get("details", {})
    if not isinstance(kind, str) or not isinstance(details, dict):
        raise InvalidRequest.of("callback", "must have a `type` and a `details` object")
    return kind, details


def _changes(
    payload: str | bytes | None,
    callback: Callback | None,
    retry: RetryRules | None,
    misfire: Misfire | None,
    misfire_most: int | None,
    misfire_age: timedelta | None,
    overlap: Overlap | None,
    keeps: bool | None,
) -> dict[str, Any]:
    """Return what is given as fields of `NewRecurring`."""
    kind, details = (None, None) if callback is None else details_of(callback)
    if isinstance(callback, Mapping) and (unknown := callback.keys() - {"type", "details"}):
        raise InvalidRequest([Violation(f"callback.{key}", "is not known here") for key in sorted(unknown)])
    fields = {
        "payload": None if payload is None else payload_of(payload),
        "callback_type": kind,
        "callback_details": details,
        "retry": retry,
        "misfire": misfire,
        "misfire_most": misfire_most,
        "misfire_age_ms": _whole_seconds(misfire_age),
        "overlap": overlap,
        "keeps": keeps,
    }
    return {name: value for name, value in fields.items() if value is not None}


def payload_of(payload: str | bytes) -> str:
    """Return a payload as it is stored; bytes are told by `Sending.is_base64`."""
    return payload if isinstance(payload, str) else b64encode(payload).decode()


def ms_of(duration: timedelta | None) -> int | None:
    """Return whole milliseconds."""
    return None if duration is None else duration // timedelta(milliseconds=1)


def _whole_seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // _SECOND * 1_000


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_PREVIEW:
        raise InvalidRequest.of("size", f"must be from 1 to {MAX_PREVIEW}")
