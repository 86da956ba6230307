"""The verbs about dead letters, for both clients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ringtime_client import dead_letter_calls as calls
from ringtime_client.exchange import Call, T
from ringtime_shared.api.dead_letters import LIST_SIZE, DeadLetterPage, ReplayResult, ReplayView


class AsyncDeadLetterVerbs(ABC):
    """What `AsyncRingtimeClient` can do with dead letters."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def list_dead_letters(
        self,
        app_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int = LIST_SIZE,
        token: str = "",
        replayed: bool | None = False,
    ) -> DeadLetterPage:
        """Return a page of an app's dead letters, oldest first.

        Args:
            start: from the last attempt at this instant on; None: a day before `end`.
            end: up to this instant; None: now. At most 31 days after `start`.
            size: most letters on the page, 1 to 1,000.
            token: the one of the page before; "": the first page.
            replayed: True: only those that were filed again; False: only the others; None: all.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._run(
            calls.list_dead_letters(app_id, start=start, end=end, size=size, token=token, replayed=replayed)
        )

    async def count_dead_letters(
        self, app_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        return await self._run(calls.count_dead_letters(app_id, start=start, end=end))

    async def replay(self, schedule_id: UUID | str) -> ReplayView:
        """File a failed schedule again, under its own id. After OutcomeUnknown it may be repeated.

        Raises NotFound, NotReplayable (it has not failed, or was cancelled), AppInactive.
        """
        return await self._run(calls.replay(schedule_id))

    async def replay_many(
        self,
        app_id: str,
        *,
        schedule_ids: Sequence[UUID | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int | None = None,
        token: str = "",
    ) -> ReplayResult:
        """File many failed schedules again, 200 a second. After OutcomeUnknown it may be repeated.

        Args:
            schedule_ids: these, at most 1,000; or
            start, end, size, token: those of a range, as in `list_dead_letters`; `size` is 1,000 if None.

        Raises InvalidRequest, NotFound (app), AppInactive.
        """
        return await self._run(
            calls.replay_many(app_id, schedule_ids=schedule_ids, start=start, end=end, size=size, token=token)
        )


class DeadLetterVerbs(ABC):
    """What `RingtimeClient` can do with dead letters: the same as `AsyncDeadLetterVerbs`."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def list_dead_letters(
        self,
        app_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int = LIST_SIZE,
        token: str = "",
        replayed: bool | None = False,
    ) -> DeadLetterPage:
        """Return a page of an app's dead letters, oldest first. Raises InvalidRequest, NotFound (app)."""
        return self._run(
            calls.list_dead_letters(app_id, start=start, end=end, size=size, token=token, replayed=replayed)
        )

    def count_dead_letters(
        self, app_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        return self._run(calls.count_dead_letters(app_id, start=start, end=end))

    def replay(self, schedule_id: UUID | str) -> ReplayView:
        """File a failed schedule again. Raises NotFound, NotReplayable, AppInactive."""
        return self._run(calls.replay(schedule_id))

    def replay_many(
        self,
        app_id: str,
        *,
        schedule_ids: Sequence[UUID | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int | None = None,
        token: str = "",
    ) -> ReplayResult:
        """File many failed schedules again. Raises InvalidRequest, NotFound (app), AppInactive."""
        return self._run(
            calls.replay_many(app_id, schedule_ids=schedule_ids, start=start, end=end, size=size, token=token)
        )
