"""Which API keys there are, for operators and for those who administer an app.

All of them are read, at most once in a while and however many ask, since nothing finds those of one app;
there are 10,000 at most. Whoever administers some apps sees the keys that name an app of his, and of the apps
that such a key names only his own. Keys for all apps are operators', and told to those who have all apps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ringtime_shared.access import ApiKey, Grant, KeyStore
from ringtime_shared.access.keys import fetch_all_keys
from ringtime_shared.api.keys import KeyList, KeyView
from ringtime_shared.clock import Clock

_FRESH_MS = 5_000  #: what was read is good for so long


class Keys:
    """Lists keys."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: tuple[int, Sequence[ApiKey]] | None = None  # boot time
        self._reading = asyncio.Lock()

    async def find(self, grant: Grant, *, app_id: str = "", after: str = "", size: int) -> KeyList:
        """Return a page, by id. Raises StoreUnavailable.

        Args:
            grant: of who asks.
            app_id: those that may do something with this app, which the grant sees; "": all.
            after: those behind this id.
        """
        found = [key for key in await self._all() if _concerns(key, app_id, grant)]
        now_ms = self._clock.now_ms()
        shown = [_view(key, now_ms, grant.sees) for key in found if key.key_id > after][:size]
        return KeyList(keys=shown, count=len(found))

    async def _all(self) -> Sequence[ApiKey]:
        async with self._reading:  # whoever waits has what was read meanwhile
            boot_ms = self._clock.boot_ms()
            if self._known is None or boot_ms - self._known[0] >= _FRESH_MS:
                every = await fetch_all_keys(self._store)
                self._known = boot_ms, [replace(key, digest=b"") for key in every]
            return self._known[1]


def _concerns(key: ApiKey, app_id: str, grant: Grant) -> bool:
    if key.grant.apps is None:
        return grant.apps is None
    return not app_id or app_id in key.grant.apps


def _view(key: ApiKey, now_ms: int, sees: Callable[[str], bool]) -> KeyView:
    """Return what is told of a key to whoever sees some apps."""
    ends_ms, apps = key.ends_ms(), key.grant.apps
    return KeyView(
        key_id=key.key_id,
        state=key.state(now_ms),
        label=key.label,
        scopes=sorted(key.grant.scopes),
        apps=None if apps is None else sorted(filter(sees, apps)),
        created_at=_at(key.created_ms),
        last_used_at=None if key.used_ms is None else _at(key.used_ms),
        ends_at=None if ends_ms is None else _at(ends_ms),
        requests_per_second=key.requests_per_second,
        creates_per_second=key.creates_per_second,
    )


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC)
