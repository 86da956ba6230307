"""The verbs about dead letters of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from ringtime.instants import to_ms
from ringtime_ingest.service.dead_letters import (
    IN_LIBRARY,
    DeadLetters,
    LetterPage,
    LetterQuery,
    ReplayReport,
)
from ringtime_ingest.service.replay import Replay
from ringtime_shared.api.dead_letters import LIST_SIZE, MAX_SIZE
from ringtime_shared.arguments import checked
from ringtime_shared.errors import InvalidRequest


class DeadLetterVerbs(ABC):
    """What `Ringtime` can do with dead letters."""

    @property
    @abstractmethod
    def _dead_letters(self) -> DeadLetters: ...

    @checked
    async def list_dead_letters(
        self,
        app_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int = LIST_SIZE,
        token: str = "",
        replayed: bool | None = False,
    ) -> LetterPage:
        """Return a page of an app's dead letters, oldest first.

        Args:
            start: from the last attempt at this instant on; None: a day before `end`.
            end: up to this instant; None: now. At most 31 days after `start`.
            size: most letters on the page, 1 to 1,000.
            token: the one of the page before; "": the first page.
            replayed: True: only those that were filed again; False: only the others; None: all.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._dead_letters.fetch(_query(app_id, start, end, size, token, replayed))

    @checked
    async def count_dead_letters(
        self, app_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        return await self._dead_letters.count(_query(app_id, start, end))

    @checked
    async def replay(self, schedule_id: UUID | str) -> Replay:
        """File a failed schedule again, under its own id.

        Raises NotFound, NotReplayable (it has not failed, or was cancelled), AppInactive.
        """
        return await self._dead_letters.replay(cast(UUID, schedule_id))

    @checked
    async def replay_many(
        self,
        app_id: str,
        *,
        schedule_ids: Sequence[UUID | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        size: int | None = None,
        token: str = "",
    ) -> ReplayReport:
        """File many failed schedules again, 200 a second; calling it twice delivers none twice.

        Args:
            schedule_ids: these, at most 1,000; or
            start, end, size, token: those of a range, as in `list_dead_letters`; `size` is 1,000 if None.

        Raises InvalidRequest, NotFound (app), AppInactive.
        """
        if schedule_ids is None:
            asked = _query(app_id, start, end, MAX_SIZE if size is None else size, token)
            return await self._dead_letters.replay_range(asked)
        if (start, end, size) != (None, None, None) or token:
            raise InvalidRequest.of("schedule_ids", "give either schedule_ids or a range, not both")
        return await self._dead_letters.replay_ids(app_id, cast(Sequence[UUID], schedule_ids), IN_LIBRARY)


def _query(
    app_id: str,
    start: datetime | None,
    end: datetime | None,
    size: int = LIST_SIZE,
    token: str = "",
    replayed: bool | None = False,
) -> LetterQuery:
    return LetterQuery(
        app_id=app_id,
        start_ms=to_ms("start", start),
        end_ms=to_ms("end", end),
        size=size,
        token=token,
        replayed=replayed,
        names=IN_LIBRARY,
    )
