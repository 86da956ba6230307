"""What a session knows of the deployment, and up to which revision of etcd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import intern
from types import MappingProxyType
from typing import Any

from aetcd import rpc

from ringtime_shared.coordination.etcd.keys import DrainKey, Layout, NodeKey, parse_member
from ringtime_shared.coordination.protocol import Claim, Member, View
from ringtime_shared.models.app import Instance


class Book:
    """Members, claims and drains.

    The watch writes it, and so does the session with what it did itself, ahead of the watch. `_ahead` holds
    the revision of such an entry until the watch has passed it: older news about the key is no news.

    A View is made at the first look after a change and handed out until the next one. It holds the claims
    themselves: the next that changes is written into a copy, so that a hundred thousand are there once.
    """

    def __init__(self, layout: Layout) -> None:
        self.revision = 0  #: everything up to it is known
        self._layout = layout
        self._members: dict[str, Member] = {}
        self._claims: dict[Instance, Claim] = {}
        self._is_shown = False  # some View holds the claims
        self._last = Claim("", 0)
        self._drained: set[str] = set()
        self._ahead: dict[Instance, int] = {}
        self._view: View | None = View()

    def view(self) -> View:
        if self._view is None:
            self._is_shown = True
            self._view = View(
                MappingProxyType(self._members.copy()),
                MappingProxyType(self._claims),
                frozenset(self._drained),
            )
        return self._view

    def epoch_of(self, instance: Instance, node: str) -> int | None:
        """Return the epoch under which `node` holds the instance, None if it does not."""
        claim = self._claims.get(instance)
        return claim.epoch if claim is not None and claim.node == node else None

    def fill(self, items: Iterable[Any]) -> None:
        """Add what a page of a full load holds."""
        for item in items:
            self._put(item)

    def take_over(self, fresh: Book, revision: int) -> None:
        """Become `fresh`, which holds all there is at `revision`; what we did ourselves after it stays."""
        ahead = {each: at for each, at in self._ahead.items() if at > revision}
        ours = {each: self._claims.get(each) for each in ahead}
        self._members, self._claims, self._ahead = fresh._members, fresh._claims, ahead
        self._drained, self._is_shown = fresh._drained, fresh._is_shown
        for instance, claim in ours.items():
            self._set(instance, claim)
        self.revision = revision
        self._view = None

    def apply(self, events: Iterable[Any]) -> None:
        """Take over what the watch tells, in its order."""
        for event in events:
            item = event.kv
            if event.type == rpc.Event.PUT:
                self._put(item)
            else:
                self._delete(item)
            self.revision = max(self.revision, item.mod_revision)
        if self._ahead:
            self._ahead = {each: at for each, at in self._ahead.items() if at > self.revision}
        self._view = None

    def note_claimed(self, node: str, won: Mapping[Instance, int], revision: int) -> None:
        """Our claims, in a transaction of `revision`."""
        if revision > self.revision:
            for instance, epoch in won.items():
                self._set(instance, self._claim(node, epoch))
                self._ahead[instance] = revision

    def note_released(self, instances: Iterable[Instance], revision: int) -> None:
        """Our releases, in a transaction of `revision`."""
        if revision > self.revision:
            for instance in instances:
                self._set(instance, None)
                self._ahead[instance] = revision

    def _put(self, item: Any) -> None:
        place = self._layout.parse(item.key)
        if isinstance(place, Instance):
            if item.mod_revision > self._ahead.get(place, 0):
                node = intern(item.value.decode(errors="replace"))
                self._set(place, self._claim(node, item.create_revision))
        elif isinstance(place, NodeKey):
            self._members[place.node] = parse_member(place.node, item.value)
        elif isinstance(place, DrainKey):
            self._drained.add(place.node)

    def _delete(self, item: Any) -> None:
        place = self._layout.parse(item.key)
        if isinstance(place, Instance):
            if item.mod_revision > self._ahead.get(place, 0):
                self._set(place, None)
        elif isinstance(place, NodeKey):
            self._members.pop(place.node, None)
        elif isinstance(place, DrainKey):
            self._drained.discard(place.node)

    def _claim(self, node: str, epoch: int) -> Claim:
        """Return a claim: one object for all of one transaction, which come together as a rule."""
        if self._last != (node, epoch):
            self._last = Claim(node, epoch)
        return self._last

    def _set(self, instance: Instance, claim: Claim | None) -> None:
        if self._is_shown:
            self._claims, self._is_shown = self._claims.copy(), False
        if claim is None:
            self._claims.pop(instance, None)
        else:
            self._claims[instance] = claim
        self._view = None
