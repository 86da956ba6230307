"""Deletions of apps that clients ask for: begun at once, carried out in the background."""

from __future__ import annotations

import asyncio
import logging

from ringtime_ingest.service.apps import AppMaps
from ringtime_shared.apps.deleting import Deleter
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Conflict, NotFound, OutcomeUnknown, StoreUnavailable, VersionConflict
from ringtime_shared.models.app import App

_log = logging.getLogger(__name__)
_BACK_OFF_S = 5.0


class Deletions:
    """One task for each app that this process is deleting; so no more than there are apps."""

    def __init__(self, deleter: Deleter, apps: AppMaps, clock: Clock) -> None:
        self._deleter = deleter
        self._apps = apps
        self._clock = clock
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by app number

    async def ask(self, app_id: str, *, cancels: bool) -> App:
        """Begin to delete an app, or go on with it; return it as it is now: halted.

        Raises NotFound, LiveSchedules, Conflict, StoreUnavailable, OutcomeUnknown.
        """
        begun_ms = self._clock.boot_ms()
        app = await self._deleter.begin(app_id, cancels=cancels)
        self._apps.keep(app, begun_ms)
        if app.number not in self._tasks:
            task = asyncio.create_task(self._carry_out(app), name=f"deletion of {app_id}")
            self._tasks[app.number] = task
            task.add_done_callback(lambda _: self._tasks.pop(app.number))
        return app

    async def close(self) -> None:
        """Stop; whoever asks again goes on."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _carry_out(self, app: App) -> None:
        of_app = {"app_id": app.app_id}
        while True:
            try:
                await self._deleter.finish(app)
                await self._apps.reread(app.app_id)
            except NotFound:
                _log.info("app %s, number %d, is deleted", app.app_id, app.number, extra=of_app)
            except (StoreUnavailable, OutcomeUnknown, VersionConflict) as error:
                _log.warning("deleting app %s: %s", app.app_id, error, extra=of_app)
                await asyncio.sleep(_BACK_OFF_S)
                continue
            except Conflict as error:
                _log.warning("app %s is not deleted: %s", app.app_id, error, extra=of_app)
            except Exception:  # noqa: BLE001 - nobody awaits this task; the app stays as it is
                _log.exception("deleting app %s: a bug; ask again", app.app_id, extra=of_app)
            return
