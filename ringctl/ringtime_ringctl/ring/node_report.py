"""What `ringctl nodes` says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringtime_ringctl.deployment.probes import Health
from ringtime_ringctl.deployment.ring_report import report_ring
from ringtime_ringctl.deployment.snapshot import Snapshot
from ringtime_shared.coordination.protocol import Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node."""

    node: str
    state: str  #: active, drained; leaving: it owns something, but is in the ring no more
    address: str
    capacity: float
    version: str
    owned: int
    wanted: int  #: poller instances the ring gives it
    health: Health | None  #: None: it does not say where it listens
    drain: Drain | None


def report_nodes(snapshot: Snapshot, healths: Sequence[Health]) -> list[NodeState]:
    """Put together what etcd and the nodes say, by name."""
    by_node = {each.node: each for each in healths}
    members = snapshot.view.members
    found = []
    for load in report_ring(snapshot, {}).nodes:
        member = members.get(load.node)
        found.append(
            NodeState(
                node=load.node,
                state="drained" if load.is_drained else "active" if member is not None else "leaving",
                address="" if member is None else member.address,
                capacity=load.capacity,
                version="" if member is None else member.version,
                owned=load.owned,
                wanted=load.wanted,
                health=by_node.get(load.node),
                drain=snapshot.drains.get(load.node),
            )
        )
    return found
