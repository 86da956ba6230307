"""The apps as this process last read them, with the age of each reading.

The age is counted on the boot clock from before the read began, so a process that was suspended knows
that its map is old (see `commit`).
"""

from __future__ import annotations

from typing import NamedTuple

from ringtime_shared.clock import Clock
from ringtime_shared.errors import NotFound
from ringtime_shared.models.app import App
from ringtime_shared.stores.protocol import AppStore

_FRESH_MS = 2_000  #: a change by another process is seen after this, well under the map age of `commit`
_RELOAD_MS = 1_000  #: ids that name an unknown app cause one reload of all apps in this time


class AppReading(NamedTuple):
    """An app and when it was read."""

    app: App
    read_boot_ms: int


class AppMaps:
    """A read-through cache. Bounded by the number of registered apps."""

    def __init__(self, store: AppStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_id: dict[str, AppReading] = {}
        self._by_number: dict[int, str] = {}
        self._reloaded_boot_ms: int | None = None

    async def get(self, app_id: str) -> AppReading:
        """Return the app, read at most two seconds ago. Raises NotFound."""
        reading = self._by_id.get(app_id)
        if reading is not None and self._clock.boot_ms() - reading.read_boot_ms < _FRESH_MS:
            return reading
        return await self.reread(app_id)

    async def reread(self, app_id: str) -> AppReading:
        """Return the app as it is in the store now. Raises NotFound."""
        begun_ms = self._clock.boot_ms()
        app = await self._store.fetch_app(app_id)
        if app is None:
            self._by_id.pop(app_id, None)
            raise NotFound("app", app_id)
        return self._keep(AppReading(app, begun_ms))

    async def app_id_of(self, number: int) -> str | None:
        """Return the id of the app with this number, or None if there is none."""
        known = self._by_number.get(number)
        begun_ms = self._clock.boot_ms()
        if known is None and (
            self._reloaded_boot_ms is None or begun_ms - self._reloaded_boot_ms >= _RELOAD_MS
        ):
            self._reloaded_boot_ms = begun_ms
            for app in await self._store.fetch_apps():
                self._keep(AppReading(app, begun_ms))
        return self._by_number.get(number)

    def keep(self, app: App, begun_ms: int) -> None:
        """Remember what this process itself has written.

        Args:
            begun_ms: boot time before the write was sent. Others may have changed the app since, and this
                process may have slept: counted from after the write, an old map would pass for a new one.
        """
        self._keep(AppReading(app, begun_ms))

    def _keep(self, reading: AppReading) -> AppReading:
        self._by_id[reading.app.app_id] = reading
        self._by_number[reading.app.number] = reading.app.app_id
        return reading
