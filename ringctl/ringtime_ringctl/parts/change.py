"""The steps of a change of the part count, and who carries them out. The package docstring says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.app import App
from ringtime_shared.parts import CHANGE_WAIT_MS, GROUPS, PartChange, PartMap, Phase, is_part_count
from ringtime_shared.settings import AppLimits

_DAY_MS = 86_400_000
_AGAIN_S = 1.0  #: until the store is tried again
_SUBJECT = "index"  #: in the audit log


def check_count(count: int) -> None:
    """Raise InvalidRequest unless a minute's index can be cut into so many parts."""
    if not is_part_count(count):
        raise InvalidRequest.of("COUNT", f"must be a power of two from 1 to {GROUPS:,}")


def begin(parts: PartMap, count: int, *, operator: str, now_ms: int) -> PartMap:
    """Return the map with a change to `count` under way. Raises Conflict when one is."""
    if parts.change is not None:
        raise Conflict(f"{describe(parts)}; `--resume` goes on with it, `--abort` gives it up")
    return _next(parts, parts.written, PartChange(count, Phase.READING, operator, now_ms))


def advance(parts: PartMap) -> PartMap:
    """Return the map after the next step, once that may be taken; pages of a copy are `noted`."""
    change = under_way(parts)
    match change.phase:
        case Phase.READING:
            return _next(parts, change.other, replace(change, other=parts.written, phase=Phase.WRITING))
        case Phase.WRITING:
            return _next(parts, parts.written, replace(change, phase=Phase.COPYING, cursor=None))
        case Phase.COPYING:
            return _next(parts, parts.written, None)


def noted(parts: PartMap, cursor: str) -> PartMap:
    """Return the map with a page of its copy done."""
    return _next(parts, parts.written, replace(under_way(parts), cursor=cursor))


def take_over(parts: PartMap, operator: str) -> PartMap:
    """Return the map with its change noted as that of another operator."""
    return _next(parts, parts.written, replace(under_way(parts), operator=operator))


def abort(parts: PartMap, operator: str) -> PartMap:
    """Return the map on its way back to the count before; there at once if no other was written yet."""
    change = under_way(parts)
    if change.phase is Phase.READING:
        return _next(parts, parts.written, None)
    back = replace(change, other=parts.written, phase=Phase.WRITING, operator=operator, cursor=None)
    return _next(parts, change.other, back)


def under_way(parts: PartMap) -> PartChange:
    """Return the change under way. Raises Conflict."""
    if parts.change is None:
        raise Conflict("no change of the parts is under way")
    return parts.change


def describe(parts: PartMap) -> str:
    """Return one line on the change under way."""
    change = under_way(parts)
    before, after = (
        (parts.written, change.other) if change.phase is Phase.READING else (change.other, parts.written)
    )
    return (
        f"the index is being changed from {before:,} parts to {after:,} by {change.operator}"
        f" since {to_iso(change.begun_ms)}"
    )


def kept_ms(apps: Iterable[App], limits: AppLimits) -> int:
    """Return how long after its minute a row may lie in the store, at most."""
    days = [app.configuration.retention_days or 0 for app in apps]
    return (max([limits.max_retention_days, *days]) + 1) * _DAY_MS


def _next(parts: PartMap, written: int, change: PartChange | None) -> PartMap:
    return PartMap(written, parts.version + 1, change)


class Unfinished(Exception):
    """Time is up. The change is under way still; the message says how far it is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change is."""

    text: str
    share: float = 0.0  #: of the copy, in [0, 1]


class PartChanger:
    """A change of the part count, as one operator carries it out. Can be killed at any moment."""

    def __init__(
        self, deployment: Deployment, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> None:
        self._deployment = deployment
        self._store = deployment.store
        self._clock = deployment.clock
        self._on_progress = on_progress
        self._seen: tuple[int, Phase] | None = None  # version and phase as they were read first
        self._seen_ms = 0  # boot time after that
        self._copied = 0  #: entries, so far
        self._kept_ms: int | None = None

    async def fetch(self) -> PartMap:
        """Return the map as it is now. Raises StoreUnavailable, Damaged."""
        return await self._store.fetch_parts()

    async def begin(self, count: int) -> PartMap:
        """Begin a change, unless there are so many parts.

        Raises InvalidRequest, Conflict (another one is under way), VersionConflict, StoreUnavailable,
        OutcomeUnknown.
        """
        check_count(count)
        parts = await self.fetch()
        if parts.change is None and parts.written == count:
            return parts
        now_ms = self._clock.now_ms()
        begun = begin(parts, count, operator=self._deployment.operator, now_ms=now_ms)
        return await self._change("parts begin", parts, begun)

    async def resume(self) -> PartMap:
        """Go on with what somebody began; from here on it is this operator's. Raises as `begin` does."""
        parts = await self.fetch()
        if under_way(parts).operator == self._deployment.operator:
            return parts
        return await self._change("parts resume", parts, take_over(parts, self._deployment.operator))

    async def abort(self) -> PartMap:
        """Give up what somebody began; what is returned may have a change to `finish`. Raises as `begin`."""
        parts = await self.fetch()
        return await self._change("parts abort", parts, abort(parts, self._deployment.operator))

    async def finish(self, begun: PartMap, *, timeout_s: float) -> PartMap:
        """Carry out the remaining steps of the change of `begun`; return the map without it.

        Raises:
            Unfinished: out of time.
            Conflict: somebody else has taken it over, or has given it up.
        """
        until_ms = self._clock.boot_ms() + round(timeout_s * 1_000)
        while True:
            try:
                parts = await self._fetch_same(begun)
                if parts.change is None:
                    return parts
                await self._take_step(parts)
                continue
            except VersionConflict:
                continue  # our own step, whose answer was lost; or another operator's, as is seen next
            except _Waiting as waiting:
                text, pause_s = str(waiting), waiting.pause_s
            except (StoreUnavailable, OutcomeUnknown) as error:
                text, pause_s = str(error), _AGAIN_S
            left_s = (until_ms - self._clock.boot_ms()) / 1_000
            if left_s <= 0:
                raise Unfinished(text)
            self._on_progress(Progress(text))
            await asyncio.sleep(min(pause_s, left_s))

    async def _take_step(self, parts: PartMap) -> None:
        """Take the next step. Raises _Waiting if it is too early."""
        change = under_way(parts)
        if change.phase is Phase.COPYING:
            await self._copy(parts, change)
            return
        if self._seen != (seen := (parts.version, change.phase)):
            self._seen, self._seen_ms = seen, self._clock.boot_ms()  # after it was read
        left_ms = self._seen_ms + CHANGE_WAIT_MS - self._clock.boot_ms()
        if left_ms > 0:
            who = "readers" if change.phase is Phase.READING else "writers"
            raise _Waiting(f"{who} may go by an older map for some seconds yet", left_ms / 1_000)
        action = "parts write" if change.phase is Phase.READING else "parts copy"
        await self._change(action, parts, advance(parts))

    async def _copy(self, parts: PartMap, change: PartChange) -> None:
        """Copy a page."""
        if self._kept_ms is None:
            self._kept_ms = kept_ms(await self._store.fetch_apps(), self._deployment.settings.limits)
        page = await self._store.copy_entries(parts.written, change.cursor, self._kept_ms)
        self._copied += page.copied
        self._on_progress(Progress(f"{self._copied:,} entries copied", page.share))
        if page.cursor is None:
            await self._change("parts end", parts, advance(parts))
        else:
            await self._store.replace_parts(noted(parts, page.cursor))

    async def _fetch_same(self, begun: PartMap) -> PartMap:
        """Return the map while its change is that of `begun`, or after it was done. Raises Conflict."""
        parts = await self.fetch()
        change, own, target = parts.change, under_way(begun), _target(begun)
        if change is None:
            if parts.written == target:
                return parts
            raise Conflict(
                f"the change to {target:,} parts was given up meanwhile; there are {parts.written:,}"
            )
        is_same = (change.operator, change.begun_ms) == (own.operator, own.begun_ms)
        if not is_same or _target(parts) != target:
            raise Conflict(f"{describe(parts)}; this one ends here")
        return parts

    async def _change(self, action: str, before: PartMap, after: PartMap) -> PartMap:
        """Store the next map, with its audit entry. Raises as `begin` does."""
        async with audited(
            self._deployment, action, _SUBJECT, before=parts_to_json(before), after=parts_to_json(after)
        ):
            await self._store.replace_parts(after)
        return after


class _Waiting(Exception):
    """The next step is not to be taken yet."""

    def __init__(self, text: str, pause_s: float) -> None:
        super().__init__(text)
        self.pause_s = pause_s


def _target(parts: PartMap) -> int:
    """Return the count that a change leads to."""
    change = under_way(parts)
    return change.other if change.phase is Phase.READING else parts.written


def parts_to_json(parts: PartMap) -> dict[str, object]:
    """Return a map for `--json` and the audit log."""
    change = parts.change
    return {
        "written": parts.written,
        "read": list(parts.read),
        "phase": None if change is None else change.phase.value,
        "changedBy": None if change is None else change.operator,
    }
