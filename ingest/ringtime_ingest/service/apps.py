"""The apps as this process last read them, with the age of each reading.

The age is counted on the boot clock from before the read began, so a process that was suspended knows
that its map is old (see `commit`).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ringtime_shared.app_changes import Decision, change_app
from ringtime_shared.clock import Clock
from ringtime_shared.errors import NotFound, StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.stores.codec import NO_NUMBER
from ringtime_shared.stores.protocol import AppStore

_FRESH_MS = 2_000  #: a change by another process is seen after this, well under the map age of `commit`
_KNOWN_MS = 10_000  #: and that an app is gone, by those who only read its schedules, after this


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
        self._reloading = asyncio.Lock()
        self._reloads_begun = 0
        self._last_reload = 0  # number of the last one that was answered

    async def get(self, app_id: str) -> AppReading:
        """Return the app, read at most two seconds ago. Raises NotFound, Damaged."""
        reading = self._by_id.get(app_id)
        if reading is not None and self._clock.boot_ms() - reading.read_boot_ms < _FRESH_MS:
            return reading
        return await self.reread(app_id)

    async def reread(self, app_id: str) -> AppReading:
        """Return the app as it is in the store now. Raises NotFound, Damaged."""
        begun_ms = self._clock.boot_ms()
        app = await self._store.fetch_app(app_id)
        if app is None:
            self._forget(app_id)
            raise NotFound("app", app_id)
        return self._keep(AppReading(app, begun_ms))

    async def change(self, app_id: str, decide: Decision) -> App:
        """Change the app in the store (see `change_app`), and remember it as it is then."""
        begun_ms = self._clock.boot_ms()
        try:
            app = await change_app(self._store, app_id, decide)
        except NotFound:
            self._forget(app_id)
            raise
        self.keep(app, begun_ms)
        return app

    async def app_id_of(self, number: int) -> str | None:
        """Return the id of the app with this number, or None if there is none.

        An unknown number has all apps read again, since it may be another process's new app. There is one
        such read at a time, and it serves all who asked before it began. A known one is looked at again
        every ten seconds, since its app may be gone.
        """
        begun_before = self._reloads_begun
        if number not in self._by_number:
            async with self._reloading:
                if number not in self._by_number and self._last_reload <= begun_before:
                    await self._reload()
        app_id = self._by_number.get(number)
        if app_id is None or self._clock.boot_ms() - self._by_id[app_id].read_boot_ms < _KNOWN_MS:
            return app_id
        try:
            app = (await self.reread(app_id)).app
        except NotFound:
            return None
        except StoreUnavailable:
            return app_id  # what was known is better than nothing: the caller reads the row itself
        return app_id if app.number == number else None

    async def _reload(self) -> None:
        self._reloads_begun += 1
        this, begun_ms = self._reloads_begun, self._clock.boot_ms()
        for app in await self._store.fetch_apps():
            if not app.damage:
                self._keep(AppReading(app, begun_ms))
            elif app.number != NO_NUMBER:  # its schedules can be looked at
                self._by_number[app.number] = app.app_id
        self._last_reload = this  # one that fails does not count: nobody may take it for an answer

    def keep(self, app: App, begun_ms: int) -> None:
        """Remember what this process itself has written.

        Args:
            begun_ms: boot time before the write was sent. Others may have changed the app since, and this
                process may have slept: counted from after the write, an old map would pass for a new one.
        """
        self._keep(AppReading(app, begun_ms))

    def _keep(self, reading: AppReading) -> AppReading:
        app = reading.app
        known = self._by_id.get(app.app_id)
        if known is not None and known.app.number != app.number:
            self._forget(app.app_id)
        self._by_id[app.app_id] = reading
        self._by_number[app.number] = app.app_id
        return reading

    def _forget(self, app_id: str) -> None:
        known = self._by_id.pop(app_id, None)
        if known is not None:
            del self._by_number[known.app.number]
