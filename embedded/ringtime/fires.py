"""The verbs of completeness, of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ringtime.instants import to_ms
from ringtime_ingest.service import IngestService
from ringtime_ingest.service.fires import FireAuditPart, FireQuery
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.models.fires import Completeness


class FireVerbs(ABC):
    """What `Ringtime` tells of outcomes; the names are those of the clients."""

    @property
    @abstractmethod
    def _service(self) -> IngestService:
        """What runs. Raises RuntimeError outside `async with`."""

    @checked
    async def get_completeness(self, app_id: str | None = None) -> Completeness:
        """Return up to when everything that was due has its recorded outcome.

        Args:
            app_id: of this app; None: of all active ones.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._service.fires.completeness(app_id)

    @checked
    async def audit_fires(
        self, app_id: str, *, start: Instant | None = None, end: Instant | None = None, token: str = ""
    ) -> FireAuditPart:
        """Return a part of an audit: whether each fire of a time range has exactly one outcome.

        Args:
            start: from those due at this instant on; None: an hour before `end`.
            end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
                days after `start`.
            token: the one of the part before; "": the first part.

        Raises InvalidRequest, NotFound (app).
        """
        query = FireQuery(
            app_id=app_id, start_ms=to_ms("start", start), end_ms=to_ms("end", end), token=token
        )
        return await self._service.fires.audit(query)
