"""What a resize would do, before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringtime_ringctl.deployment.ownership import Snapshot, ring_of
from ringtime_ringctl.resize.evidence import Holding
from ringtime_shared.models.app import App, Instance
from ringtime_shared.ring import Move, Ring, plan_moves

SETTLE_MS = 5_000  #: after a row has fired, until `settled` is seen to have passed it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A poller instance to come."""

    instance: Instance
    node: str | None  #: who the ring gives it to; None: no dispatcher runs, or the app is deactivated


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A poller instance to go."""

    instance: Instance
    owner: str | None  #: None: nobody owns it
    holding: Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShare:
    """What the ring gives a node."""

    node: str
    capacity: float
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A resize that has not begun."""

    app: App
    quota: int
    added: Sequence[Added]
    retired: Sequence[Retired]
    moves: Sequence[Move]  #: poller instances that stay, of whatever app, and change hands
    shares: Sequence[NodeShare]  #: by node
    done_ms: int | None  #: growing: None. Shrinking: when the last old partition can be released; None: never
    remarks: Sequence[str]

    @property
    def is_shrinking(self) -> bool:
        return bool(self.retired)


def plan_resize(
    snapshot: Snapshot, app: App, quota: int, holdings: Sequence[Holding], *, quiet_ms: int
) -> Plan:
    """Return what a resize of `app`, one of the snapshot's, to `quota` comes to.

    Args:
        holdings: of the poller instances to be retired, in order.
        quiet_ms: how long a shrink waits at least, whatever the partitions hold.
    """
    ring = ring_of(snapshot)
    old = [each for each in snapshot.polled() if each.app_id != app.app_id or each.partition < quota]
    new = [Instance(app.app_id, partition) for partition in range(app.writable, quota)]
    after = ring.with_instances(map(str, [*old, *(new if app.active else [])]))
    assignment = after.assignment()
    claims = snapshot.view.claims
    return Plan(
        app=app,
        quota=quota,
        added=[Added(instance=each, node=assignment.get(str(each))) for each in new],
        retired=[
            Retired(
                instance=each.instance,
                owner=claims[each.instance].node if each.instance in claims else None,
                holding=each,
            )
            for each in holdings
        ],
        moves=[move for move in plan_moves(ring, after) if move.source and move.target],
        shares=_shares(ring, after),
        done_ms=_done_ms(snapshot.now_ms, app, holdings, quiet_ms),
        remarks=_remarks(snapshot, app),
    )


def _shares(before: Ring, after: Ring) -> list[NodeShare]:
    return [
        NodeShare(
            node=node,
            capacity=capacity,
            before=len(before.owned_by(node)),
            after=len(after.owned_by(node)),
        )
        for node, capacity in sorted(before.nodes.items())
    ]


def _done_ms(now_ms: int, app: App, holdings: Sequence[Holding], quiet_ms: int) -> int | None:
    if not holdings:
        return None
    last_ms = [each.last_ms for each in holdings if each.last_ms is not None]
    if last_ms and not app.active:
        return None
    return max(now_ms + quiet_ms, max(last_ms, default=0) + SETTLE_MS)


def _remarks(snapshot: Snapshot, app: App) -> list[str]:
    remarks = []
    if not app.active:
        remarks.append("the app is deactivated: nobody polls it, and rows ahead in old partitions stay there")
    elif not snapshot.view.members:
        remarks.append("no dispatcher runs: new partitions would be opened only once one owns them")
    if snapshot.view.drained:
        remarks.append(f"drained nodes get nothing: {', '.join(sorted(snapshot.view.drained))}")
    return remarks
