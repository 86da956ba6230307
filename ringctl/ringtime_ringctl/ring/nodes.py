"""`ringctl nodes`: the dispatchers, what they own, whether they are ready, and their clocks."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.probes import fetch_health
from ringtime_ringctl.deployment.snapshot import fetch_snapshot
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.ring.node_report import NodeState, report_nodes
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import to_iso

_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("ADDRESS"),
    Column("CAPACITY", right=True),
    Column("OWNS", right=True),
    Column("RING GIVES", right=True),
    Column("HEALTH", folds=True),
    Column("CLOCK", right=True),
    Column("DRAINED BY"),
)


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
    found = report_nodes(snapshot, await fetch_health(snapshot.view.members))
    if output.is_json:
        output.data({"nodes": [node_to_json(each) for each in found]})
        return
    if not found:
        output.line("no node is in the ring: nothing fires until a dispatcher starts")
        return
    output.table(_COLUMNS, [_to_row(each) for each in found])


def _to_row(each: NodeState) -> list[str | int | None]:
    health, drain = each.health, each.drain
    told = None if health is None else "ready" if health.is_ready else health.reason
    clock = None if health is None or health.skew_ms is None else f"{health.skew_ms:+.0f} ms"
    return [
        each.node,
        each.state,
        each.address or None,
        f"{each.capacity:g}",
        each.owned,
        each.wanted,
        told,
        clock,
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
