"""Keeping the book: load everything, then follow the changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from aetcd import rpc

from ringtime_shared.coordination.etcd.book import Book
from ringtime_shared.coordination.etcd.connection import Connection, Refused
from ringtime_shared.coordination.etcd.identity import HistoryChanged, check_history
from ringtime_shared.coordination.etcd.keys import Layout
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable

PAGE = 1_000  #: keys in one answer; each is worked off in one go, 3 ms
RELOAD_S = 300.0  #: etcd has had bugs that swallow an event; a claim must not look taken for ever
_PAUSES_S = (0.05, 0.2, 0.5, 1.0)
_log = logging.getLogger(__name__)


class Compacted(Exception):
    """The changes since the last revision we know are no longer there. Never leaves the driver."""


class Watching:
    """Follows one prefix into one book, and tells when it changed."""

    def __init__(
        self, connection: Connection, layout: Layout, book: Book, on_change: Callable[[], None]
    ) -> None:
        self.reload_s = RELOAD_S
        self._connection = connection
        self._layout = layout
        self._book = book
        self._on_change = on_change

    async def load(self) -> None:
        """Read everything at one revision, a page at a time."""
        fresh = Book(self._layout)
        revision = 0
        key = self._layout.start
        while True:
            page = await self._connection.fetch_range(
                rpc.RangeRequest(key=key, range_end=self._layout.end, limit=PAGE, revision=revision)
            )
            revision = revision or page.header.revision
            fresh.fill(page.kvs)
            if not page.more:
                break
            key = page.kvs[-1].key + b"\0"
        if revision < self._book.revision:
            raise StoreUnavailable(f"etcd answered with old revision {revision}")
        self._book.take_over(fresh, revision)
        self._on_change()

    async def run(self, identity: str) -> None:
        """Follow for ever. Raises HistoryChanged only."""
        failures = 0
        is_load_due = False
        while True:
            before = self._book.revision
            try:
                if failures:
                    await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
                    await check_history(self._connection, self._layout, identity, before)
                if is_load_due:
                    await self.load()
                    is_load_due = False
                async with asyncio.timeout(self.reload_s):
                    await self._follow()
            except TimeoutError:
                failures, is_load_due = 0, True
                continue
            except Compacted:
                is_load_due = True
            except Refused as refusal:
                is_load_due = is_load_due or refusal.is_compacted
                _log.warning("the view of etcd is not up to date: %s", refusal)
            except (StoreUnavailable, OutcomeUnknown) as error:
                _log.info("the view of etcd is not up to date: %s", error)
            except HistoryChanged:
                raise
            except Exception:  # noqa: BLE001 - a bug here must not end the watch for ever
                _log.exception("the view of etcd is not up to date: a bug")
                is_load_due = True
            failures = 1 if self._book.revision > before else failures + 1

    async def _follow(self) -> None:
        request = rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=self._layout.start, range_end=self._layout.end, start_revision=self._book.revision + 1
            )
        )
        async with aclosing(self._connection.watch(request)) as answers:
            async for answer in answers:
                if answer.compact_revision:
                    raise Compacted
                if answer.canceled:
                    raise StoreUnavailable(f"etcd ended the watch: {answer.cancel_reason}")
                if answer.events:
                    self._book.apply(answer.events)
                    self._on_change()
                    if any(self._ends_history(event) for event in answer.events):
                        raise HistoryChanged("what was kept in etcd was deleted, or belongs to a new era")

    def _ends_history(self, event: Any) -> bool:
        return bool(event.type == rpc.Event.DELETE and event.kv.key == self._layout.identity)
