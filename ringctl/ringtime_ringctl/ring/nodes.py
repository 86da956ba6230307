"""`ringctl nodes`: the dispatchers, what they own, whether they are ready, and their clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import Snapshot, fetch_snapshot, node_versions, report_ring
from ringtime_ringctl.deployment.probes import Health, fetch_health
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.instants import to_iso
from ringtime_shared.coordination.protocol import Drain
from ringtime_shared.models.node_status import NodeStatus

_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("VERSION"),
    Column("OWNS", right=True),
    Column("RING GIVES", right=True),
    Column("HEALTH", folds=True),
    Column("CLOCK", right=True),
    Column("ADDRESS"),
    Column("CAPACITY", right=True),
    Column("DRAINED BY"),
)


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


def report_nodes(
    snapshot: Snapshot, healths: Sequence[Health], statuses: Sequence[NodeStatus] = ()
) -> list[NodeState]:
    """Put together what etcd, the nodes and the store say, by name."""
    versions = node_versions(snapshot.view, statuses)
    by_node = {each.node: each for each in healths}
    members = snapshot.view.members
    states = []
    for load in report_ring(snapshot, {}).nodes:
        member = members.get(load.node)
        states.append(
            NodeState(
                node=load.node,
                state="drained" if load.is_drained else "active" if member is not None else "leaving",
                address="" if member is None else member.address,
                capacity=load.capacity,
                version=versions.get(load.node, ""),
                owned=load.owned,
                wanted=load.wanted,
                health=by_node.get(load.node),
                drain=snapshot.drains.get(load.node),
            )
        )
    return states


@click.command("nodes", cls=RingctlCommand)
@deployed
async def nodes(deployment: Deployment, output: Output) -> None:
    """List the nodes of the ring.

    CLOCK is the node's wall clock less this machine's, give or take half of the time its answer took.

    \b
    Examples:
      ringctl nodes
      ringctl nodes --json | jq -r '.nodes[] | select(.drained) | .node'
    """
    snapshot = await fetch_snapshot(deployment, with_marks=False)
    healths = await fetch_health(snapshot.view.members)
    states = report_nodes(snapshot, healths, await deployment.store.fetch_node_statuses())
    if output.is_json:
        output.data({"nodes": [node_to_json(each) for each in states]})
        return
    if not states:
        output.line("no node is in the ring: nothing fires until a dispatcher starts")
        return
    output.table(_COLUMNS, [_to_row(each) for each in states])


def _to_row(each: NodeState) -> list[str | int | None]:
    health, drain = each.health, each.drain
    verdict = None if health is None else "ready" if health.is_ready else health.reason
    clock = None if health is None or health.skew_ms is None else f"{health.skew_ms:+.0f} ms"
    return [
        each.node,
        each.state,
        each.version or None,
        each.owned,
        each.wanted,
        verdict,
        clock,
        each.address or None,
        f"{each.capacity:g}",
        None if drain is None else f"{drain.operator}, {to_iso(drain.since_ms)[:16]}Z",
    ]


def node_to_json(each: NodeState) -> Mapping[str, object]:
    """Return a node for `--json`."""
    health, drain = each.health, each.drain
    return {
        "node": each.node,
        "state": each.state,
        "address": each.address,
        "capacity": each.capacity,
        "version": each.version,
        "owned": each.owned,
        "wanted": each.wanted,
        "ready": None if health is None else health.is_ready,
        "reason": None if health is None else health.reason,
        "skewMs": None if health is None else health.skew_ms,
        "drained": each.state == "drained",
        "drainedBy": None if drain is None else drain.operator,
        "drainedAt": None if drain is None else to_iso(drain.since_ms),
    }
