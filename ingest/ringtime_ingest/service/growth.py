"""How many apps and partitions there may be in all, without counting them at each registration.

What is known of the apps (`AppMaps.counts`) is a few seconds old, and more are registered meanwhile, here
and by others. So while much of a bound is free, a registration goes on at once; when little is, one follows
the other here, and each counts first (`AppMaps.count`), as a rule by a look at what has changed. Pods that
register at the same moment may pass a bound by what they register then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ringtime_shared.apps.rules import check_growth
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import AppCounts

#: a bound is near when less than a tenth of it is free, or less than this
_SPARE = AppCounts(apps=100, partitions=1_000)


class Growth:
    """The registrations of one process."""

    def __init__(
        self, known: Callable[[], AppCounts], count: Callable[[], Awaitable[AppCounts]], limits: AppLimits
    ) -> None:
        """
        Args:
            known: how much is registered, a few seconds ago or later.
            count: the same, when it is called or later.
        """
        self._known = known
        self._count = count
        self._limits = limits
        self._counting = asyncio.Lock()  # so that no two count the same room
        self._begun = AppCounts(0, 0)  # registrations under way that were not counted
        self._none_begun = asyncio.Event()
        self._none_begun.set()

    @asynccontextmanager
    async def room(self, partitions: int) -> AsyncIterator[None]:
        """Let the body register an app of so many partitions.

        Raises LimitReached, and what counting raises.
        """
        if self._is_near(partitions):
            async with self._counting:
                await self._none_begun.wait()
                check_growth(await self._count(), self._limits, apps=1, partitions=partitions)
                yield
            return
        self._begin(1, partitions)
        try:
            yield
        finally:
            self._begin(-1, -partitions)

    def _is_near(self, partitions: int) -> bool:
        known, begun, limits = self._known(), self._begun, self._limits
        apps = limits.max_apps - known.apps - begun.apps - 1
        left = limits.max_partitions_in_all - known.partitions - begun.partitions - partitions
        return apps < max(limits.max_apps // 10, _SPARE.apps) or left < max(
            limits.max_partitions_in_all // 10, _SPARE.partitions
        )

    def _begin(self, apps: int, partitions: int) -> None:
        begun = self._begun = AppCounts(self._begun.apps + apps, self._begun.partitions + partitions)
        if begun.apps:
            self._none_begun.clear()
        else:
            self._none_begun.set()
