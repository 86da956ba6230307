"""`Ring`, an unchanging value, and what is computed from it."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from ringtime_shared.ring.circle import tag_of
from ringtime_shared.ring.placement import Placement, fair_shares

_NO_NODES: Mapping[str, float] = MappingProxyType({})
_NO_BOUNDS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Move:
    """One instance that changes hands; None stands for no node."""

    instance: str
    source: str | None
    target: str | None


class Ring:
    """Which node should own which poller instance; `with_nodes` and `with_instances` return changed copies.

    A value that never changes, so that the ring acted upon and the ring wanted
    can be held side by side and compared, and no reader sees one half changed.
    Copies share hashes and points; only what may change is placed again.

    Args:
        nodes: capacity of each node by name; 1.0 is an ordinary node.
        instances: poller instances, "app.partition"; repeats count once.
        placement: instead of both, a placement that nobody else will change.

    Raises:
        ValueError: a capacity is not a finite number above 0.
    """

    def __init__(
        self,
        nodes: Mapping[str, float] = _NO_NODES,
        instances: Iterable[str] = (),
        *,
        placement: Placement | None = None,
    ) -> None:
        self._placement = Placement(nodes, instances) if placement is None else placement

    @property
    def nodes(self) -> Mapping[str, float]:
        """Capacity of each node."""
        return MappingProxyType(self._placement.nodes)

    @property
    def instances(self) -> frozenset[str]:
        """Every instance on the ring, owned or not."""
        return frozenset(self._placement.instances)

    def owner(self, instance: str) -> str | None:
        """Return the node that should own `instance`; None without nodes or if it is not on the ring."""
        seat = self._placement.seats.get(instance)
        return None if seat is None else self._placement.names[seat[2]]

    def owned_by(self, node: str) -> frozenset[str]:
        """Return what `node` should own; nothing if it is not on the ring."""
        if node not in self._placement.nodes:
            return frozenset()
        return frozenset(name for _, name, _ in self._placement.held[tag_of(node)])

    def assignment(self) -> Mapping[str, str]:
        """Return the owner of each instance; empty without nodes. Built at each call."""
        names = self._placement.names
        return {instance: names[tag] for _, instance, tag in self._placement.seats.values()}

    def with_nodes(self, nodes: Mapping[str, float], most: Mapping[str, int] = _NO_BOUNDS) -> "Ring":
        """Return the ring of exactly these `nodes`. Raises ValueError as the constructor does.

        Args:
            most: how many instances a node may own, where it is bounded; see `fitted` for its capacity then.
        """
        placement = self._placement.copy()
        placement.change_nodes(nodes, most)
        return Ring(placement=placement)

    def with_instances(self, instances: Iterable[str]) -> "Ring":
        """Return the ring of exactly these `instances`."""
        placement = self._placement.copy()
        placement.change_instances(instances)
        return Ring(placement=placement)

    def with_exchanged(self, come: Set[str], gone: Set[str]) -> "Ring":
        """Return the ring with the instances `come`, which this one lacks, and without `gone`, which it has.

        The same as `with_instances`, without a look at all the others.
        """
        placement = self._placement.copy()
        placement.exchange_instances(come, gone)
        return Ring(placement=placement)


def plan_moves(before: Ring, after: Ring) -> list[Move]:
    """Return the changes of owner that lead from `before` to `after`, by instance."""
    old, new = before.assignment(), after.assignment()
    changed = sorted(
        instance for instance in old.keys() | new.keys() if old.get(instance) != new.get(instance)
    )
    return [Move(instance, old.get(instance), new.get(instance)) for instance in changed]


def imbalance(ring: Ring) -> float:
    """Return the greatest load over fair share by capacity; 1.0 is perfect, and what an empty ring has."""
    shares = fair_shares(ring.nodes, len(ring.instances))
    return max((len(ring.owned_by(name)) / share for name, share in shares.items() if share), default=1.0)
