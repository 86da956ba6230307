"""Claiming and releasing in packed transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ringtime_shared.coordination.etcd.book import Book
from ringtime_shared.coordination.etcd.connection import Connection, Refused
from ringtime_shared.coordination.etcd.keys import Layout
from ringtime_shared.coordination.etcd.requests import PACK, claim_all, read_won, release_all
from ringtime_shared.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance

_SIDE_BY_SIDE = 4  # transactions of one call that are under way at once
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Claims:
    """The claims of one node under one lease. Raises LeaseLost, StoreUnavailable, OutcomeUnknown."""

    node: str
    lease: int
    connection: Connection
    layout: Layout
    book: Book
    on_change: Callable[[], None]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _latest: int = 0  # highest revision of our own transactions

    async def claim(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        """Return what was won; when a part got no answer, the other part, and the view will tell the rest."""
        won: dict[Instance, int] = {}
        async with self._turn:  # `after` tells this call's claims from those of the calls before
            after = max(self._latest, self.book.revision)

            async def run(pack: Sequence[Instance]) -> None:
                keys = [self.layout.claim_key(each) for each in pack]
                reply = await self.connection.txn_again(claim_all(keys, self.node.encode(), self.lease))
                new = read_won(reply, pack, lease=self.lease, after=after)
                self._note(reply.header.revision)
                if new:
                    self.book.note_claimed(self.node, new, reply.header.revision)
                    self.on_change()
                won.update(new)

            failure = await self._in_packs(instances, run)
        if failure is not None:
            if not won or isinstance(failure, LeaseLost):
                raise failure
            _log.warning("%s claimed %d of %d: %s", self.node, len(won), len(instances), failure)
        return won

    async def release(self, instances: Sequence[Instance]) -> None:
        """Give up the terms that the book says this node has; of another life of it, none."""
        terms = {each: self.book.epoch_of(each, self.node) for each in instances}
        epochs = {each: epoch for each, epoch in terms.items() if epoch is not None}

        async def run(pack: Sequence[Instance]) -> None:
            keys = [(self.layout.claim_key(each), epochs[each]) for each in pack]
            reply = await self.connection.txn_again(release_all(keys, self.lease))
            self._note(reply.header.revision)
            ends = zip(pack, reply.responses, strict=True)
            gone = [each for each, end in ends if end.response_txn.succeeded]
            if gone:
                self.book.note_released(gone, reply.header.revision)
                self.on_change()

        failure = await self._in_packs(list(epochs), run)
        if failure is not None:
            raise failure

    def _note(self, revision: int) -> None:
        self._latest = max(self._latest, revision)

    async def _in_packs(
        self, instances: Sequence[Instance], run: Callable[[Sequence[Instance]], Awaitable[None]]
    ) -> Exception | None:
        """Run once for every PACK instances, some at once, up to the first failure; return that."""
        unique = list(dict.fromkeys(instances))
        packs = [unique[at : at + PACK] for at in range(0, len(unique), PACK)]
        failures: list[Exception] = []

        async def work() -> None:
            while packs and not failures:
                try:
                    await run(packs.pop(0))
                except Refused as refusal:
                    is_gone = refusal.is_lease_gone
                    failures.append(LeaseLost(f"the lease of {self.node} ended") if is_gone else refusal)
                except (StoreUnavailable, OutcomeUnknown) as error:
                    failures.append(error)

        await asyncio.gather(*(work() for _ in range(min(len(packs), _SIDE_BY_SIDE))))
        return failures[0] if failures else None
