"""The text of a node's status, as every driver stores it: JSON that other versions read, within its bound."""

from __future__ import annotations

from dataclasses import replace

from msgspec import MsgspecError, json

from ringtime_shared.models.node_status import MOST_BYTES, NodeStatus
from ringtime_shared.stores.codec.cells import fault_of


def bounded(status: NodeStatus) -> NodeStatus:
    """Return the status as it is kept: one that is too long without the tail of its lists."""
    while len(json.encode(status)) > MOST_BYTES and (
        status.troubles or status.owned_by_app or status.over_quota or status.worst_apps
    ):
        apps = list(status.owned_by_app.items())
        troubles = status.troubles[: len(status.troubles) // 2]
        told = {each.app_id for each in troubles}
        status = replace(
            status,
            troubles=troubles,
            troubles_of_app={each: n for each, n in status.troubles_of_app.items() if each in told},
            owned_by_app=dict(apps[: len(apps) // 2]),
            worst_apps=status.worst_apps[: len(status.worst_apps) // 2],
            over_quota=status.over_quota[: len(status.over_quota) // 2],
        )
    return status


def encode_status(status: NodeStatus) -> str:
    """Return the text of what is kept of a status."""
    return json.encode(bounded(status)).decode()


def read_status(node: str, at_ms: int, text: object) -> NodeStatus:
    """Read a status; of one that is damaged, its key and its `damage`."""
    try:
        if not isinstance(text, str):
            raise ValueError("must be text")
        status = json.decode(text, type=NodeStatus)
        if (status.node, status.at_ms) != (node, at_ms):
            raise ValueError("it is that of another node or moment")
        return status
    except (ValueError, MsgspecError) as error:
        return NodeStatus(node=node, at_ms=at_ms, damage=f"status: {fault_of(error)}")
