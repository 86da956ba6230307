"""Membership, leases and ownership, as a dispatcher node sees them.

One `Session` is one node's lease and all that hangs on it. When the lease ends, by `close` or because
it was not renewed in time, the node's membership and all its claims vanish together, and the session is
of no further use: the node starts a new one.

Trust. A session renews its lease by itself. `trusted_until_ms` is counted from the *start* of the last
renewal that succeeded, plus the TTL, less a margin, on the boot clock: up to then no other node can
have been given this node's poller instances. Source: River's leader election keeps the same window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ringtime_shared.models.app import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A dispatcher node in the ring."""

    node: str
    address: str = ""
    capacity: float = 1.0  #: weight in the ring
    version: str = ""


class Claim(NamedTuple):
    """One ownership term of one poller instance."""

    node: str
    epoch: int  #: grows with every claim of the instance, for ever


@dataclass(frozen=True, slots=True)
class View:
    """What a session knows of the deployment; never older than what it last reported as changed."""

    members: Mapping[str, Member] = field(default_factory=dict)
    claims: Mapping[Instance, Claim] = field(default_factory=dict)


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
