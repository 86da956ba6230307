"""The circle: hashes of nodes and instances, and the points of a node on it.

A point is one integer, `position << TAG_BITS | tag of its node`, so that a
list of points sorts without a key, ties included, and needs no table of
owners beside it. Nothing here depends on what else is on the ring.
"""

import hashlib
import math
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ringtime_shared.parts import GROUPS, group_of

POINTS = 1024  #: points for each 1.0 of capacity; fewer make arcs uneven, more make a rebuild slow

POSITION_BITS = 42
CIRCLE = 1 << POSITION_BITS
TAG_BITS = 48  #: two of 1,000 names share a tag in one cluster of 10**8
TAG_MASK = (1 << TAG_BITS) - 1

_starts = array("q", bytes(8 * GROUPS))  # where each group is; 0: not worked out yet


def position_of(instance: str) -> int:
    """Return where on the circle `instance` is, in [0, CIRCLE): just after where its group is."""
    group = group_of(instance)
    start = _starts[group]
    if not start:
        digest = hashlib.blake2b(group.to_bytes(4, "little"), digest_size=8, person=b"group").digest()
        start = _starts[group] = int.from_bytes(digest, "little") >> (64 - POSITION_BITS)
    # An arc of 100 nodes has 25 bits; these 16 are enough to tell the members of a group apart.
    return (start + (zlib.crc32(instance.encode()) >> 16)) % CIRCLE


def tag_of(node: str) -> int:
    """Return the number, in [0, TAG_MASK], that stands for `node` in its points."""
    digest = hashlib.blake2b(node.encode(), digest_size=TAG_BITS // 8, person=b"node").digest()
    return int.from_bytes(digest, "little")


def points_of(node: str, weight: float, scale: int) -> tuple[int, ...]:
    """Return the node's points, in order; those of a smaller weight are among those of a greater."""
    return _first_points(node, max(1, round(POINTS * math.ldexp(weight, -scale))))


@lru_cache(maxsize=32)  # nodes come and go and come again; half a megabyte for each 10.0 of capacity
def _first_points(node: str, count: int) -> tuple[int, ...]:
    tag = tag_of(node)
    digest = hashlib.shake_128(b"point:" + node.encode()).digest(8 * count)
    shift = 64 - POSITION_BITS
    points = [bits >> shift << TAG_BITS | tag for bits in struct.unpack(f"<{count}Q", digest)]
    points.sort()  # once: whoever puts those of all nodes in order merges them
    return tuple(points)


def scale_of(nodes: Mapping[str, float]) -> int:
    """Return k, where capacity 2**k gets `POINTS` points: 0, unless the heaviest node is outside [1/8, 8).

    Steps of 6, so that a point count neither explodes (capacity given in
    megabytes) nor starves, and almost never changes as nodes come and go.
    """
    exponent = max((math.frexp(weight)[1] for weight in nodes.values()), default=0)
    return (exponent + 2) // 6 * 6


def spliced(points: list[int], removed: Iterable[int], added: Iterable[int]) -> list[int]:
    """Return sorted `points` without `removed` and with `added`, copying runs instead of sorting again."""
    edits = sorted([(point, False) for point in removed] + [(point, True) for point in added])
    result: list[int] = []
    start = 0
    for point, is_added in edits:
        end = bisect_left(points, point, start)
        result += points[start:end]
        if is_added:
            result.append(point)
            start = end
        else:
            start = end + 1
    return result + points[start:]
