"""Carry a resize out, step by step. The package docstring says why each step is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.resize import steps
from ringtime_ringctl.resize.evidence import find_ahead, find_unowned
from ringtime_ringctl.resize.steps import Step, next_step
from ringtime_ringctl.times import to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.apps.rules import check_growth
from ringtime_shared.buckets import last_slot
from ringtime_shared.clock import require_trust
from ringtime_shared.errors import (
    Conflict,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.app import App, Instance, Resize
from ringtime_shared.schedules.chain_repair import move_off, read_active
from ringtime_shared.schedules.rows_ahead import last_bucket
from ringtime_shared.stores.protocol import Marks, MarksWrite

LOOK_S = 0.2  #: between two looks for owners: creates wait for them
ROWS_LOOK_S = 1.0  #: between two looks at the rows of old partitions
LETTING_GO_S = 30.0  #: for dispatchers to let go of what is polled no more, which takes a second or two
_DAY_MS = 86_400_000
_FIRST_MARK_MS = 60_000  #: how far behind now a partition begins; clocks differ by less


class Unfinished(Exception):
    """Time is up. The resize is under way still; the message says what it waits for."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a resize is."""

    text: str
    done: int = 0
    total: int | None = None


class Resizer:
    """One app's resize, as one operator carries it out. Can be killed at any moment."""

    def __init__(
        self, deployment: Deployment, app_id: str, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> None:
        self._deployment = deployment
        self._store = deployment.store
        self._clock = deployment.clock
        self._app_id = app_id
        self._on_progress = on_progress
        ingest = deployment.settings.ingest
        self._quiet_ms = ingest.map_age_ms + ingest.write_deadline_ms
        self._lowered_ms: int | None = None  # boot time at which `writable` was seen to be lowered
        self._is_moved = False  # whether recurring schedules were looked at since

    async def fetch(self) -> App:
        """Return the app as it is now. Raises NotFound, StoreUnavailable."""
        return await fetch_app(self._deployment, self._app_id)

    async def begin(self, quota: int) -> App:
        """Begin a resize, unless the app has this quota.

        Raises InvalidRequest, NotFound, Conflict (another one is under way), VersionConflict,
        StoreUnavailable, OutcomeUnknown.
        """
        require_trust(self._clock)  # marks are counted from now
        steps.check_quota(quota, self._deployment.settings.limits)
        now_ms = self._clock.now_ms()  # before the app is read: `_raise_marks` counts on it
        app = await self.fetch()
        if steps.is_quota(app, quota):
            return app
        check_growth(
            await self._store.count_apps(),
            self._deployment.settings.limits,
            apps=0,
            partitions=quota - app.polled,
        )
        gained = [Instance(app.app_id, partition) for partition in range(app.polled, quota)]
        await self.until_let_go(gained)
        terms = await self._store.fetch_terms(gained)
        term = max(terms.values(), default=0)
        begun = steps.begin(app, quota, operator=self._deployment.operator, now_ms=now_ms, term=term)
        await self._raise_marks(terms, now_ms)
        return await self._change("resize begin", app, begun)

    async def resume(self) -> App:
        """Go on with what somebody began; from here on it is this operator's. Raises as `begin` does."""
        app = await self.fetch()
        if steps.noted(app).operator == self._deployment.operator:
            return app
        return await self._change("resize resume", app, steps.take_over(app, self._deployment.operator))

    async def abort(self) -> App:
        """Give up what somebody began. Raises as `begin` does, and Conflict if there is nothing."""
        app = await self.fetch()
        return await self._change("resize abort", app, steps.abort(app))

    async def finish(self, begun: App, *, timeout_s: float, is_waiting: bool) -> App:
        """Carry out the remaining steps of the resize of `begun`.

        Args:
            is_waiting: wait for the rows of old partitions to fire, too.

        Raises:
            Unfinished: out of time; or rows are left, and nobody wants to wait for them.
            Conflict: somebody else has taken it over, or has given it up.
        """
        note = steps.noted(begun)
        until_ms = self._clock.boot_ms() + round(timeout_s * 1_000)
        self._lowered_ms, self._is_moved = None, False
        while True:
            try:
                app = await self._fetch_same(note)
                if next_step(app) is Step.NONE:
                    return app
                missing = (
                    await self._open_new(app)
                    if next_step(app) is Step.OPEN_NEW
                    else await self._release(app, is_waiting=is_waiting)
                )
                if missing is None:
                    continue
                pause_s = LOOK_S if next_step(app) is Step.OPEN_NEW else ROWS_LOOK_S
            except VersionConflict:
                continue  # the app was changed in between, perhaps by somebody who does the same
            except (StoreUnavailable, OutcomeUnknown) as error:
                missing, pause_s = str(error), ROWS_LOOK_S
                self._on_progress(Progress(missing))
            if self._clock.boot_ms() >= until_ms:
                raise Unfinished(missing)
            await asyncio.sleep(pause_s)

    async def until_let_go(self, instances: Sequence[Instance]) -> list[Instance]:
        """Wait until dispatchers own these no more, some seconds at most; return those they still own.

        What would follow is safe without this. But a dispatcher that never noticed that a partition was
        gone does not show that it owns it when it is wanted again. Raises StoreUnavailable, OutcomeUnknown.
        """
        if instances:  # whoever released them may have died, or had no answer, before that was counted
            await self._store.announce_app(self._app_id)
        coordination, loop = self._deployment.coordination, asyncio.get_running_loop()
        if coordination is None:
            if instances and self._deployment.server is not None:
                await asyncio.sleep(2 * self._deployment.settings.dispatch.apps_refresh_ms / 1_000)
            return []
        until_s = loop.time() + LETTING_GO_S
        left = list(instances)
        while left:
            claims = (await coordination.fetch_view()).claims
            left = [each for each in left if each in claims]
            if not left or loop.time() >= until_s:
                break
            self._on_progress(Progress(f"{len(left)} poller instances are being let go"))
            await asyncio.sleep(LOOK_S)
        return left

    async def _fetch_same(self, note: Resize) -> App:
        """Return the app while its resize is this one, or after it was done. Raises Conflict."""
        app = await self.fetch()
        if steps.is_same(app, note) or steps.is_quota(app, note.quota):
            return app
        if app.resize is None:
            raise Conflict(f"the resize to {note.quota} was given up meanwhile; app has {app.writable}")
        raise Conflict(f"{steps.describe(app)}; this one ends here")

    async def _raise_marks(self, terms: dict[Instance, int], now_ms: int) -> None:
        """Let partitions that come back begin a minute ago, not where they ended: perhaps a month ago."""
        marks = Marks(now_ms - _FIRST_MARK_MS, now_ms - _FIRST_MARK_MS)
        if terms:
            await self._store.put_marks([MarksWrite(each, term, marks) for each, term in terms.items()])

    async def _open_new(self, app: App) -> str | None:
        """Open the new partitions to creates once all are owned; until then return a sentence on why not."""
        total = len(steps.added(app))
        # Nobody polls a deactivated app; whoever activates it finds all its partitions polled alike.
        unowned = await find_unowned(self._store, app) if app.active else []
        if not unowned:
            await self._change("resize open", app, steps.open_new(app))
            return None
        self._on_progress(
            Progress(f"{len(unowned)} of {total} are not owned yet", total - len(unowned), total)
        )
        return f"{len(unowned)} of {total} new partitions are owned by no dispatcher yet: does one run?"

    async def _release(self, app: App, *, is_waiting: bool) -> str | None:
        """Release the old partitions once all are empty; until then return a sentence on why not."""
        if self._lowered_ms is None:
            await self._store.announce_app(app.app_id)  # whoever lowered it may have died before that
            self._lowered_ms = self._clock.boot_ms()  # after the app was read
        if not self._is_moved:
            await self._move_recurring(app)
            self._is_moved = True
        quiet_ms = self._lowered_ms + self._quiet_ms - self._clock.boot_ms()
        now_ms = self._clock.now_ms()
        instances = steps.retired(app)
        last = last_bucket(now_ms, self._deployment.settings.limits)
        ahead = await find_ahead(self._store, app, instances, now_ms=now_ms, last=last, is_whole=False)
        if not ahead and quiet_ms < 0:
            if moved := await self._move_recurring(app):
                return f"{moved} recurring schedules were made on an older map"
            await self._change("resize release", app, steps.release(app))
            return None
        holding = len({entry.instance for entry in ahead})
        text = f"{holding} of {len(instances)} old partitions hold rows ahead"
        if not ahead:
            text = f"creates on an older map may come for another {to_span(max(quiet_ms, 0))}"
        self._on_progress(Progress(text, len(instances) - holding, len(instances)))
        until_ms = last_slot(ahead[-1].bucket) if ahead else now_ms
        if ahead and not app.active:
            raise Unfinished(f"{text}, and the app is deactivated, so they stay: activate it first")
        if ahead and not is_waiting and until_ms > now_ms + max(quiet_ms, 0):
            whole = await find_ahead(self._store, app, instances, now_ms=now_ms, last=last, is_whole=True)
            end = f", the last before {to_iso(last_slot(whole[-1].bucket) + 1)}" if whole else ""
            raise Unfinished(f"{text}{end}")
        return text

    async def _move_recurring(self, app: App) -> int:
        """Have the recurring schedules that lie in old partitions go on in those that stay; return how many.

        The run that each has filed already comes due where it lies, and is found superseded there.
        """
        moved = 0
        days = app.configuration.retention_days or self._deployment.settings.limits.retention_days
        async for page in read_active(self._store, app.app_id):
            leaving = [each for each in page if each.partition >= app.writable and not each.damage]
            if not leaving:
                continue
            before = {"recurring": [each.name for each in leaving]}
            after = {"partitionsBelow": app.writable}
            async with audited(
                self._deployment,
                "resize move",
                app.app_id,
                before=before,
                after=after,
                app_id=app.app_id,
            ):
                for each in leaving:
                    moved += await move_off(self._store, self._clock, app, each, days * _DAY_MS)
            self._on_progress(Progress(f"{moved} recurring schedules go on in partitions that stay"))
        return moved

    async def _change(self, action: str, before: App, after: App) -> App:
        """Store the next state of the app, with its audit entry. Raises as `begin` does."""
        async with audited(
            self._deployment,
            action,
            self._app_id,
            before=_to_json(before),
            after=_to_json(after),
            app_id=self._app_id,
        ):
            try:
                await self._store.replace_app(after)
            except VersionConflict as error:
                raise await self._explained(error) from error
        return after

    async def _explained(self, error: VersionConflict) -> RingtimeError:
        """Return an error that names the resize which was faster; `error` itself if it was none."""
        app = await self.fetch()
        return VersionConflict(steps.describe(app)) if app.resize is not None else error


def _to_json(app: App) -> dict[str, object]:
    """Return what a resize changes of an app, for the audit log."""
    note = app.resize
    return {
        "writable": app.writable,
        "polled": app.polled,
        "resizingTo": None if note is None else note.quota,
        "resizedBy": None if note is None else note.operator,
    }
