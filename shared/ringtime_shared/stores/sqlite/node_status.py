"""Operations of `NodeStatusStore`."""

from __future__ import annotations

from ringtime_shared.models.node_status import KEPT_MS, NodeStatus
from ringtime_shared.stores.sqlite.session import Session
from ringtime_shared.stores.status_codec import encode_status, read_status

_FORGET = "DELETE FROM node_status WHERE expires_ms <= ?"
_GET = "SELECT node, at_ms, status FROM node_status WHERE expires_ms > ? ORDER BY node"


def put_node_status(session: Session, status: NodeStatus, now_ms: int) -> None:
    session.connection.execute(_FORGET, (now_ms,))
    session.connection.execute(
        "REPLACE INTO node_status (node, at_ms, expires_ms, status) VALUES (?, ?, ?, ?)",
        (status.node, status.at_ms, now_ms + KEPT_MS, encode_status(status)),
    )


def fetch_node_statuses(session: Session, now_ms: int) -> list[NodeStatus]:
    return [read_status(*record) for record in session.fetch(_GET, (now_ms,))]


def drop_node_status(session: Session, node: str) -> None:
    session.connection.execute("DELETE FROM node_status WHERE node = ?", (node,))
