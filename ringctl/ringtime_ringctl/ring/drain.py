"""`ringctl drain` and `undrain`: empty a node before it is stopped, and give it work again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Output
from ringtime_ringctl.shell import RingctlCommand, WaitExpired, deployed
from ringtime_shared.coordination.protocol import Drain, OperatorCoordination, View
from ringtime_shared.errors import Conflict, NotFound

POLL_S = 0.3
WAIT_S = 120.0


def check_drain(view: View, node: str) -> None:
    """Raise NotFound if the node is no member, Conflict if nobody would be left to take over."""
    if node not in view.members:
        raise NotFound("node", node)
    if view.members.keys() - view.drained <= {node}:
        raise Conflict(f"{node} is the only node that is not drained: start or undrain another one first")


def count_owned(view: View, node: str) -> int:
    """Return how many poller instances the node has claimed."""
    return sum(claim.node == node for claim in view.claims.values())


def drained_json(view: View, node: str) -> Mapping[str, object]:
    """Return how the node is, for the audit log."""
    return {"drained": node in view.drained, "owned": count_owned(view, node)}


@click.command("drain", cls=RingctlCommand)
@click.argument("node")
@click.option("--wait", "is_waiting", is_flag=True, help="Return when the node owns nothing.")
@click.option(
    "--until-exit",
    "ends_with_node",
    is_flag=True,
    help="The mark goes when the node ends: for a hook that runs before it is stopped.",
)
@click.option(
    "--timeout",
    "timeout_s",
    default=WAIT_S,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait; then the exit code is 3 and the drain goes on.",
)
@deployed
async def drain(
    deployment: Deployment,
    output: Output,
    node: str,
    is_waiting: bool,
    ends_with_node: bool,
    timeout_s: float,
) -> None:
    """Let a node hand over all it owns, and keep it empty until it is undrained.

    The node finishes what is in flight, publishes its marks and gives its poller instances up one by one; the
    others claim them at once. Nothing is lost or sent twice. The mark outlives a restart of the node,
    but with --until-exit.

    \b
    Examples:
      ringctl drain dispatcher-2 --wait && systemctl stop ringtime-dispatcher
      ringctl drain dispatcher-2 --wait --timeout 30
      ringctl drain "$RINGTIME_NODE_NAME" --until-exit --wait
    """
    await drain_node(
        deployment, output, node, is_waiting=is_waiting, timeout_s=timeout_s, ends_with_node=ends_with_node
    )


async def drain_node(
    deployment: Deployment,
    output: Output,
    node: str,
    *,
    is_waiting: bool,
    timeout_s: float,
    ends_with_node: bool = False,
) -> None:
    """Carry `drain` out. Raises NotFound, Conflict, WaitExpired, StoreUnavailable, OutcomeUnknown."""
    coordination = require_ring(deployment)
    view = await coordination.fetch_view()
    check_drain(view, node)
    if node not in view.drained:
        mark = Drain(
            node=node,
            operator=deployment.operator,
            since_ms=deployment.clock.now_ms(),
            ends_with_node=ends_with_node,
        )
        async with audited(
            deployment, "drain", node, before=drained_json(view, node), after={"drained": True}
        ):
            await coordination.put_drain(mark)
    elif not ends_with_node:
        found = (await coordination.fetch_drains()).get(node)
        if found is not None and found.ends_with_node:
            raise Conflict(f"{node} is drained until it ends, and no longer: drain it when it is back")
    left = count_owned(view, node)
    if is_waiting:
        left = await wait_until_empty(coordination, output, node, left, timeout_s)
    if output.is_json:
        output.data({"node": node, "drained": True, "owned": left})
    elif left:
        output.line(f"{node} is drained: it hands over {left:,} poller instances")
    else:
        output.line(f"{node} is drained and owns nothing")


@click.command("undrain", cls=RingctlCommand)
@click.argument("node")
@deployed
async def undrain(deployment: Deployment, output: Output, node: str) -> None:
    """Give a drained node its share of the ring again; also for a node that is gone.

    \b
    Examples:
      ringctl undrain dispatcher-2
    """
    await undrain_node(deployment, output, node)


async def undrain_node(deployment: Deployment, output: Output, node: str) -> None:
    """Carry `undrain` out. Raises NotFound, Conflict, StoreUnavailable, OutcomeUnknown."""
    coordination = require_ring(deployment)
    view = await coordination.fetch_view()
    if node not in view.members and node not in view.drained:
        raise NotFound("node", node)
    if node in view.drained:
        before = drained_json(view, node)
        async with audited(deployment, "undrain", node, before=before, after={"drained": False}):
            await coordination.delete_drain(node)
    if output.is_json:
        output.data({"node": node, "drained": False})
    else:
        was = "was not drained" if node not in view.drained else "is not drained any more"
        output.line(f"{node} {was}")


async def wait_until_empty(
    coordination: OperatorCoordination, output: Output, node: str, left: int, timeout_s: float
) -> int:
    """Return 0 once the node owns nothing. Raises WaitExpired, StoreUnavailable."""
    total = left
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    with output.progress(f"{node} hands over", total) as bar:
        while left := count_owned(await coordination.fetch_view(), node):
            total = max(total, left)
            bar.show(total - left, f"{node} hands over, {left:,} left")
            if loop.time() >= until_s:
                raise WaitExpired(f"{node} still owns {left:,} poller instances; it stays drained")
            await asyncio.sleep(POLL_S)
    return 0


def require_ring(deployment: Deployment) -> OperatorCoordination:
    """Return the coordination. Raises Conflict for one process, which has nobody to hand over to."""
    if deployment.coordination is None:
        raise Conflict("one process on a folder has no other node to hand over to; just stop it")
    return deployment.coordination
