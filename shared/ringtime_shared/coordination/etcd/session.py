"""The session: a node's lease in etcd, its place in the ring and its claims."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from aetcd import rpc

from ringtime_shared.clock import Clock
from ringtime_shared.coordination.etcd.book import Book
from ringtime_shared.coordination.etcd.claims import Claims
from ringtime_shared.coordination.etcd.connection import Connection
from ringtime_shared.coordination.etcd.identity import HistoryChanged, forget_identity, read_identity
from ringtime_shared.coordination.etcd.keys import Layout, parse_member, to_value
from ringtime_shared.coordination.etcd.lease import KeptLease
from ringtime_shared.coordination.etcd.requests import delete, put_if_absent, under_lease
from ringtime_shared.coordination.etcd.watching import Watching
from ringtime_shared.coordination.protocol import Member, View
from ringtime_shared.errors import LeaseLost, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import CoordinationSettings

RaiseEra = Callable[[str], Awaitable[int]]  #: MetaStore.raise_era

_Result = TypeVar("_Result")
_NAME_POLL_S = 0.2
_NAME_GRACE_S = 3.0  # beyond its TTL that a dead life's lease may take to end
_REVOKE_EVERY_S = 0.5
_log = logging.getLogger(__name__)


class EtcdSession:
    """One node's lease on an etcd cluster. For one use: `join`, then `close` or a loss ends it.

    With `raise_era`, `join` asks it for the era by etcd's identity, so that a node whose etcd was wiped
    gets a new era with its next session; without it, `era` stands.
    """

    def __init__(
        self, settings: CoordinationSettings, clock: Clock, *, era: int = 1, raise_era: RaiseEra | None = None
    ) -> None:
        self.node = ""
        self._identity = ""
        self._settings = settings
        self._era = era
        self._raise_era = raise_era
        self._layout = Layout(settings.prefix)
        self._connection = Connection(settings)
        self._lease = KeptLease(self._connection, clock, settings)
        self._book = Book(self._layout)
        self._changed = asyncio.Event()
        parts = (self._connection, self._layout, self._book, self._changed.set)
        self._watching = Watching(*parts)
        self._claims = Claims("", self._lease.id, *parts)
        self._is_lost = False
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def era(self) -> int:
        return self._era

    async def join(self, member: Member) -> None:
        self.node = self._claims.node = member.node
        try:
            identity = self._identity = await read_identity(self._connection, self._layout)
            if self._raise_era is not None:
                self._era = await self._raise_era(identity)
            await self._enter(member)
        except BaseException:
            await self.close()
            raise
        self._start(partial(self._follow, identity), "view")

    async def leave(self) -> None:
        """As the protocol says; without an answer it is only logged, for the lease's end does it too."""
        key = self._layout.node_key(self.node)
        request = rpc.TxnRequest(compare=[under_lease(key, self._lease.id)], success=[delete(key)])
        if self._is_lost:
            return
        try:
            await self._connection.txn_again(request)
        except (StoreUnavailable, OutcomeUnknown) as error:
            _log.warning("%s stays in the ring until its lease ends: %s", self.node, error)

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._is_lost = True
        self._changed.set()
        if not self._is_over:
            self._is_over = True
            if self._lease.is_asked_for and not await self._lease.revoke():
                _log.warning("the lease of %s was not given back; it ends by itself", self.node)
            await self._connection.close()

    def trusted_until_ms(self) -> int:
        return 0 if self._is_lost else self._lease.trusted_until_ms()

    def is_lost(self) -> bool:
        return self._is_lost

    async def claim(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        """As the protocol says. When only a part was answered, that part is returned."""
        return await self._under_lease(self._claims.claim(instances))

    async def release(self, instances: Sequence[Instance]) -> None:
        await self._under_lease(self._claims.release(instances))

    async def forget_history(self) -> None:
        try:
            await forget_identity(self._connection, self._layout, self._identity)
        except (StoreUnavailable, OutcomeUnknown):
            if not self._is_lost:  # else another was faster, and the end of this session cut the call
                raise
        self._lose("etcd went back: the store knows of later terms")

    def view(self) -> View:
        return self._book.view()

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def _enter(self, member: Member) -> None:
        try:
            await self._lease.grant()
            self._start(self._keep, "lease")
            await self._take_name(member)
            await self._watching.load()
            if self._is_lost:
                raise StoreUnavailable("the lease ended meanwhile")
        except (StoreUnavailable, OutcomeUnknown) as error:
            where = ", ".join(self._settings.endpoints)
            fault = await self._connection.certificate_fault()
            raise StartupError(f"cannot join through etcd at {where}: {fault}{error}") from error

    async def _take_name(self, member: Member) -> None:
        """Put the node's key; wait for the lease of an earlier life to end, never end it for it."""
        key = self._layout.node_key(member.node)
        request = put_if_absent(key, to_value(member), self._lease.id)
        patience_s = self._settings.ttl_s + _NAME_GRACE_S
        while True:
            reply = await self._connection.txn_again(request)
            if reply.succeeded:
                return
            holder = reply.responses[0].response_range.kvs[0]
            if holder.lease == self._lease.id:  # an attempt whose answer was lost
                return
            if patience_s <= 0:
                other = parse_member(member.node, holder.value)
                raise StartupError(
                    f"another process is node {member.node}, at {other.address or 'an unknown address'}: "
                    "give each process a name of its own"
                )
            patience_s -= _NAME_POLL_S
            await asyncio.sleep(_NAME_POLL_S)

    def _start(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        self._tasks.append(asyncio.create_task(self._watch_over(work, what), name=f"{what} of {self.node}"))

    async def _watch_over(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Lose the session with a task that ends in a bug, so that the node starts anew, and says so."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else would notice
            _log.exception("%s of %s ended in a bug", what, self.node)
            self._lose(f"{what} ended: {type(error).__name__}")

    async def _keep(self) -> None:
        self._lose(await self._lease.keep())

    async def _follow(self, identity: str) -> None:
        try:
            await self._watching.run(identity)
        except HistoryChanged as reason:
            self._lose(str(reason))

    async def _under_lease(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        if self._is_lost:
            work.close()
            raise LeaseLost(f"the lease of {self.node} ended")
        try:
            result = await work
        except LeaseLost:
            self._lose("etcd does not know it any more")
            raise
        if self._is_lost:
            raise LeaseLost(f"the lease of {self.node} ended")
        return result

    def _lose(self, reason: str) -> None:
        if not self._is_lost:
            _log.warning("the lease of %s is lost: %s", self.node, reason)
            self._is_lost = True
            self._changed.set()
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()
            self._start(self._wind_up, "end")

    async def _wind_up(self) -> None:
        """Nobody has to close a lost session: end its lease, if it lives, and let go of the connection."""
        for _ in range(int(2 * self._settings.ttl_s / _REVOKE_EVERY_S)):
            if await self._lease.revoke():
                break
            await asyncio.sleep(_REVOKE_EVERY_S)
        self._is_over = True
        await self._connection.close()
