"""Nodes that may own only so many poller instances: capacities that give each its part of what there is.

The bound of the ring is on a node's share: it owns up to `BOUND` times that. So a node's share is held at its
most over `BOUND`, and the others share the rest by their capacity, which may take one of them to its most in
turn. When nobody has room by that, all share by what they may own.
"""

import math
from collections.abc import Mapping

from ringtime_shared.ring.placement import BOUND


def fitted(capacities: Mapping[str, float], most: Mapping[str, int], count: int) -> dict[str, float]:
    """Return the capacities, lowered where a node would be given more than it may own.

    Args:
        most: how many instances a node may own, where it is bounded; at least 1.
        count: instances in all.
    """
    free = dict(capacities)
    full: dict[str, float] = {}  # node -> instances it is to have
    left = float(count)
    while free:
        total = math.fsum(free.values())
        over = {
            node: most[node] / BOUND
            for node, capacity in free.items()
            if node in most and left * capacity / total > most[node] / BOUND
        }
        if not over:
            break
        full |= over
        left -= math.fsum(over.values())
        free = {node: capacity for node, capacity in free.items() if node not in over}
    if not full:
        return dict(capacities)
    # What one instance is in the scale of those that keep their capacity; or of the largest, if none does.
    each = math.fsum(free.values()) / left if free and left > 0 else 1 / max(full.values())
    return free | {node: share * each for node, share in full.items()}
