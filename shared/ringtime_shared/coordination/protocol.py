"""Membership, leases and ownership, as a dispatcher node sees them.

One `Session` is one node's lease and all that hangs on it. When the lease ends, by `close` or because
it was not renewed in time, the node's membership and all its claims vanish together, and the session is
of no further use: the node starts a new one.

Trust. A session renews its lease by itself. `trusted_until_ms` is counted from the *start* of the last
renewal that succeeded, plus the TTL, less a margin, on the boot clock: up to then no other node can
have been given this node's poller instances. Source: River's leader election keeps the same window.

Drains. An operator may mark a node as drained: it stays a member and keeps its lease, but has no share of
the ring, so it hands over all it runs. The mark is no part of the node's lease: a node that restarts under
its name is drained still. One that `ends_with_node` is part of it: that of a hook before a stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ringtime_shared.models.app import Instance
from ringtime_shared.ring import fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A dispatcher node in the ring."""

    node: str
    address: str = ""  #: `host:port`; with `https://` before it where that is how it is asked
    capacity: float = 1.0  #: weight in the ring
    version: str = ""
    most: int | None = None  #: poller instances it may own; None: it has not said


def fit_members(members: Mapping[str, Member], count: int) -> tuple[dict[str, float], dict[str, int]]:
    """Return what `Ring.with_nodes` takes: weights by which each gets its part of `count` instances, and no
    more than it may own as long as others may; and how many that is, where it is bounded."""
    most = {node: member.most for node, member in members.items() if member.most is not None}
    return fitted({node: member.capacity for node, member in members.items()}, most, count), most


class Claim(NamedTuple):
    """One ownership term of one poller instance."""

    node: str
    epoch: int  #: grows with every claim of the instance, for ever


@dataclass(frozen=True, slots=True)
class View:
    """What a session knows of the deployment; never older than what it last reported as changed."""

    members: Mapping[str, Member] = field(default_factory=dict)
    claims: Mapping[Instance, Claim] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()  #: nodes, members or not, that are to own nothing

    def eligible(self) -> Mapping[str, Member]:
        """Return the members that have a share of the ring: those not drained, or all if all are, because
        callbacks matter more than a drain."""
        return {node: self.members[node] for node in self.members if node not in self.drained} or self.members


class Lease(Protocol):
    """The life of a node in the deployment."""

    async def join(self, member: Member) -> None:
        """Take a lease, enter the ring, load the view. Raises StartupError when nobody answers."""
        ...

    async def leave(self) -> None:
        """Leave the ring, keep the lease and the claims: what a node does before it drains. Never raises."""
        ...

    async def close(self) -> None:
        """Give the lease back; claims that are left go with it. Safe to call twice."""
        ...

    def trusted_until_ms(self) -> int:
        """Return the boot time up to which this node may act as an owner; 0 after the lease ended."""
        ...

    def is_lost(self) -> bool:
        """Whether the lease is known to have ended; only a new session helps then."""
        ...


class Ownership(Protocol):
    """Claims on poller instances."""

    async def claim(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        """Claim those of `instances` that nobody owns; return them with the epoch of the new term.

        May return only a part of what it won; the view shows the rest as claims of this node. A term
        that one call left unknown is never returned by a later one.

        Raises LeaseLost, and StoreUnavailable or OutcomeUnknown when the service does not answer.
        """
        ...

    async def release(self, instances: Sequence[Instance]) -> None:
        """Give up claims of this node. Instances it does not own are passed over."""
        ...

    def view(self) -> View:
        """Return the members and claims known now."""
        ...

    async def wait_for_change(self) -> None:
        """Return when the view changed, or the lease ended, since the last call returned."""
        ...


class Session(Lease, Ownership, Protocol):
    """A node's lease and its claims."""

    @property
    def era(self) -> int:
        """The era of the coordination service; a term is `era << 48 | epoch`."""
        ...

    async def forget_history(self) -> None:
        """End this session, for the service went back in time: it gave out an epoch lower than an
        earlier one. Whoever joins from then on is in a new era. Raises StoreUnavailable, OutcomeUnknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """An operator's word that a node is to own nothing."""

    node: str
    operator: str
    since_ms: int
    ends_with_node: bool = False  #: the mark goes when the node's lease does


class CoordinationReader(Protocol):
    """The deployment as a tool sees it: without a lease, and asked for at each call."""

    async def fetch_view(self) -> View:
        """Return members, claims and drains, all as of one moment. Raises StoreUnavailable."""
        ...

    async def fetch_drains(self) -> dict[str, Drain]:
        """Return the drains by node, those of nodes that are gone included. Raises StoreUnavailable."""
        ...


class Drains(Protocol):
    """Marking nodes. Both methods may be repeated; raise StoreUnavailable, OutcomeUnknown."""

    async def put_drain(self, drain: Drain) -> None:
        """Mark a member as drained; an earlier mark stands. Raises NotFound if it is no member, or is one no
        more when the mark is made."""
        ...

    async def delete_drain(self, node: str) -> None:
        """Take the mark away; no error if there is none."""
        ...


class OperatorCoordination(CoordinationReader, Drains, Protocol):
    """All that the operator's tool needs, as a composition root hands it out."""

    async def forget_history(self) -> None:
        """Let whoever joins next be in a new era, as if the service had lost its memory. Sessions that notice
        it end. Raises StoreUnavailable, OutcomeUnknown."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...
