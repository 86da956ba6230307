"""Whether a node can be drained, and how far it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ringtime_shared.coordination.protocol import View
from ringtime_shared.errors import Conflict, NotFound


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
