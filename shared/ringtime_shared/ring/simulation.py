"""What would move if there were other nodes: the ring as the dispatchers would compute it. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringtime_shared.ring.ring import Move, Ring, imbalance, plan_moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a change of the nodes would do."""

    before: Mapping[str, int]  #: poller instances of each node
    after: Mapping[str, int]
    imbalance_before: float
    imbalance_after: float
    moves: Sequence[Move]

    def flows(self) -> list[tuple[str, str, int]]:
        """Return from which node to which how many move, the largest first."""
        counts = Counter((move.source or "", move.target or "") for move in self.moves)
        return [(source, target, count) for (source, target), count in counts.most_common()]


def simulate(ring: Ring, nodes: Mapping[str, float]) -> Simulation:
    """Return what moves when `nodes` are the nodes of `ring`."""
    changed = ring.with_nodes(nodes)
    return Simulation(
        before={node: len(ring.owned_by(node)) for node in ring.nodes},
        after={node: len(changed.owned_by(node)) for node in changed.nodes},
        imbalance_before=imbalance(ring),
        imbalance_after=imbalance(changed),
        moves=plan_moves(ring, changed),
    )
