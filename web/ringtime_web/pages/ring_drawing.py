"""The ring as a drawing: how much of the circle each node is given, and how much it owns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

from ringtime_shared.api.operating import RingNodeView

COLOURS = 12  #: classes `n0` to `n11` of the style sheet; names stand beside them
_SIZE = 320.0
_OUTER, _INNER = (150.0, 112.0), (106.0, 84.0)  #: radii of both bands
_GAP = 0.008  #: of the circle between two nodes


@dataclass(frozen=True, slots=True)
class Arc:
    """A part of a band."""

    path: str
    colour: int
    told: str


@dataclass(frozen=True, slots=True)
class Label:
    """A name beside the circle."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the template draws."""

    size: float
    arcs: Sequence[Arc]
    labels: Sequence[Label]


def draw(nodes: Sequence[RingNodeView], *, is_after: bool = False) -> Drawing:
    """Return the outer band, what the ring gives, and the inner one, what is owned.

    Args:
        is_after: the outer band is what the ring would give after a change.
    """
    given = [(each.wanted_after or 0) if is_after else each.wanted for each in nodes]
    arcs, labels = [], []
    for n, (node, (start, end)) in enumerate(zip(nodes, _parts(given), strict=True)):
        if end > start:
            told = f"{node.node}: the ring {'would give' if is_after else 'gives'} it {given[n]:,}"
            arcs.append(Arc(_band(start, end, *_OUTER), n % COLOURS, told))
            labels.append(_label((start + end) / 2, node.node))
    for n, (node, (start, end)) in enumerate(zip(nodes, _parts([each.owned for each in nodes]), strict=True)):
        if end > start:
            arcs.append(Arc(_band(start, end, *_INNER), n % COLOURS, f"{node.node}: it owns {node.owned:,}"))
    return Drawing(_SIZE, arcs, labels if len(labels) <= 24 else [])


def _parts(counts: Sequence[int]) -> list[tuple[float, float]]:
    """Return from where to where on the circle, 0 to 1, each count has its part."""
    total, at, parts = sum(counts), 0.0, []
    for count in counts:
        share = count / total if total else 0.0
        parts.append((at, at + share))
        at += share
    return parts


def _band(start: float, end: float, outer: float, inner: float) -> str:
    gap = min(_GAP / 2, (end - start) / 4) if end - start < 1 else 0.0005
    start, end = start + gap, end - gap
    large = 1 if end - start > 0.5 else 0
    ax, ay = _point(start, outer)
    bx, by = _point(end, outer)
    cx, cy = _point(end, inner)
    dx, dy = _point(start, inner)
    return (
        f"M{ax:.1f} {ay:.1f}A{outer:.0f} {outer:.0f} 0 {large} 1 {bx:.1f} {by:.1f}"
        f"L{cx:.1f} {cy:.1f}A{inner:.0f} {inner:.0f} 0 {large} 0 {dx:.1f} {dy:.1f}Z"
    )


def _point(share: float, radius: float) -> tuple[float, float]:
    angle = 2 * pi * share - pi / 2
    return _SIZE / 2 + radius * cos(angle), _SIZE / 2 + radius * sin(angle)


def _label(share: float, text: str) -> Label:
    x, y = _point(share, (_OUTER[0] + _OUTER[1]) / 2)
    return Label(round(x, 1), round(y + 4, 1), "middle", text if len(text) <= 10 else f"{text[:9]}…")
