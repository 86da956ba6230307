"""The verbs of operators, of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ringtime_ingest.service import IngestService
from ringtime_shared.api.operating import (
    DestinationList,
    ForecastView,
    NodeList,
    OverviewView,
    RingView,
)
from ringtime_shared.arguments import checked


class OperatingVerbs(ABC):
    """What `Ringtime` tells of itself; the names are those of the clients."""

    @property
    @abstractmethod
    def _service(self) -> IngestService:
        """What runs. Raises RuntimeError outside `async with`."""

    @checked
    async def get_overview(self) -> OverviewView:
        """Return how it goes, in one answer, as of some seconds ago."""
        return await self._service.operating.overview()

    @checked
    async def list_nodes(self) -> NodeList:
        """Return the one dispatcher there is, as it said of itself some seconds ago."""
        return await self._service.operating.nodes()

    @checked
    async def get_ring(
        self, app_id: str | None = None, *, join: int = 0, leave: Sequence[str] = ()
    ) -> RingView:
        """Return what the ring gives each node, and what it would with other nodes.

        Args:
            app_id: tell where each partition of this app is; None: of none.
            join: as if so many nodes joined, 0 to 100.
            leave: as if these left.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._service.operating.ring(app_id or "", join, leave)

    @checked
    async def list_destinations(self, app_id: str | None = None, *, size: int = 100) -> DestinationList:
        """Return the destinations that are not well, the worst first.

        Args:
            app_id: of this app alone; None: of all.
            size: most of them, 1 to 500.

        Raises InvalidRequest, NotFound (app).
        """
        if app_id is not None:
            await self._service.fetch_apps(app_id)
        return await self._service.operating.destinations(size, app_id or "")

    @checked
    async def get_forecast(self, app_id: str, *, hours: int = 1) -> ForecastView:
        """Return what falls due of an app in the next hours, 1 to 48.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._service.operating.forecast(app_id, hours)
