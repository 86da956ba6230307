"""Who sits where, changed in place; `Ring` hands out unchanging copies. The package docstring says why."""

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from ringtime_shared.ring.circle import (
    CIRCLE,
    TAG_BITS,
    TAG_MASK,
    points_of,
    position_of,
    scale_of,
    spliced,
    tag_of,
)

BOUND = 1.15  #: a node's most load, over its fair share by capacity
BOUND_SPREAD = 0.01  #: how far below `BOUND` the bounds of single nodes reach

REBUILD_SHARE = 0.25  #: changes above this share of the whole are not worth an update

Seat = tuple[int, str, int]  #: distance to the node's first point, instance, tag of the node


class Placement:
    """The seats of all instances, stable at every return: none could sit nearer than it does."""

    nodes: dict[str, float]
    most: dict[str, int]  #: how many instances a node may have, where it is bounded
    names: dict[int, str]  #: by tag
    points: list[int]  #: of all nodes, sorted
    instances: list[str]  #: all of them, by position, then by name
    positions: "array[int]"  #: of each; not tuples with the names: there may be a million
    seats: dict[str, Seat]  #: by instance
    held: dict[int, list[Seat]]  #: by tag of the node the same ones, sorted: the last gives way first
    spilled: dict[str, tuple[int, ...]]  #: instance -> tags of the nearer nodes that have no room for it

    def __init__(self, nodes: Mapping[str, float], instances: Iterable[str]) -> None:
        self.nodes, self.most = checked(nodes), {}
        self._order(sorted((position_of(name), name) for name in set(instances)))
        self._rebuild()

    def copy(self) -> "Placement":
        """Return a placement of its own; what is replaced and never edited is shared."""
        other = Placement.__new__(Placement)
        other.nodes, other.names, other.points, other.most = self.nodes, self.names, self.points, self.most
        other.instances, other.positions = self.instances, self.positions
        other.seats, other.spilled = self.seats.copy(), self.spilled.copy()
        other.held = {tag: entries.copy() for tag, entries in self.held.items()}
        return other

    def change_nodes(self, nodes: Mapping[str, float], most: Mapping[str, int]) -> None:
        """Make `nodes` the nodes. Raises ValueError as `checked` does, with nothing changed."""
        before, after = self.nodes, checked(nodes)
        self.most = dict(most)
        names = _by_tag(after)
        gone = [name for name, weight in before.items() if after.get(name) != weight]
        come = [name for name, weight in after.items() if before.get(name) != weight]
        scale = scale_of(after)
        self.nodes = after
        if scale != scale_of(before) or len(gone) + len(come) > REBUILD_SHARE * len(after):
            self._rebuild()
            return
        removed = [point for name in gone for point in points_of(name, before[name], scale)]
        added = sorted(point for name in come for point in points_of(name, after[name], scale))
        self.names, self.points = names, spliced(self.points, removed, added)
        doubtful: set[str] = set()
        for name in gone:
            doubtful.update(instance for _, instance, _ in self.held.pop(tag_of(name)))
        for instance in doubtful:
            del self.seats[instance]
        for name in come:
            self.held[tag_of(name)] = []
        doubtful.update(self._just_before(added))
        self._settle(doubtful)

    def change_instances(self, instances: Iterable[str]) -> None:
        """Make `instances` the instances."""
        after, before = set(instances), set(self.instances)
        self.exchange_instances(after - before, before - after)

    def exchange_instances(self, come: Set[str], gone: Set[str]) -> None:
        """Let some instances come that are not there, and some go that are."""
        order = [each for each in zip(self.positions, self.instances, strict=True) if each[1] not in gone]
        order.extend((position_of(name), name) for name in come)
        order.sort()
        self._order(order)
        if len(gone) + len(come) > REBUILD_SHARE * len(order):
            self._place_all()
            return
        for instance in gone & self.seats.keys():
            self._unseat(instance)
        for instance in gone & self.spilled.keys():
            del self.spilled[instance]
        self._settle(come)

    def _order(self, order: Sequence[tuple[int, str]]) -> None:
        self.positions = array("q", [position for position, _ in order])
        self.instances = [name for _, name in order]

    def _rebuild(self) -> None:
        scale = scale_of(self.nodes)
        self.names = _by_tag(self.nodes)
        self.points = [
            point for name, weight in self.nodes.items() for point in points_of(name, weight, scale)
        ]
        self.points.sort()
        self._place_all()

    def _place_all(self) -> None:
        """Seat every instance at the first point after it, then move on whoever has no room there."""
        self.seats, self.spilled = {}, {}
        self.held = {tag: [] for tag in self.names}
        points, seats, held = self.points, self.seats, self.held
        if not points:
            return
        same = {tag: tag for tag in self.names}  # one object of each, for a million seats
        for position, instance in zip(self.positions, self.instances, strict=True):
            point = points[bisect_left(points, position << TAG_BITS) % len(points)]
            tag, distance = point & TAG_MASK, ((point >> TAG_BITS) - position) % CIRCLE
            seats[instance] = seat = distance, instance, same[tag]
            held[tag].append(seat)
        for entries in held.values():
            entries.sort()
        self._settle(())

    def _settle(self, doubtful: Iterable[str]) -> None:
        """Reseat instances until none could sit nearer.

        Args:
            doubtful: instances without a seat, and those that may have got a
                nearer choice. The spilled ones are always looked at, and again
                when a seat is freed where they were turned away.
        """
        if not self.names:
            return
        room = self._room()
        todo = list(doubtful)
        for tag, entries in self.held.items():
            for _, instance, _ in entries[room[tag] :]:
                del self.seats[instance]
                todo.append(instance)
            del entries[room[tag] :]
        todo.extend(self.spilled)
        while todo:
            freed: set[int] = set()
            while todo:
                self._reseat(todo.pop(), room, todo, freed)
            todo = [each for each, full in self.spilled.items() if not freed.isdisjoint(full)]

    def _reseat(self, instance: str, room: Mapping[int, int], todo: list[str], freed: set[int]) -> None:
        """Seat `instance` as near as it can.

        Whom it drives out joins `todo`; the tag of the node whose seat it left joins `freed`.
        """
        seat = self.seats.get(instance)
        full, tag, distance = self._nearest(instance, room)
        if full:
            self.spilled[instance] = tuple(full)
        else:
            self.spilled.pop(instance, None)
        if seat == (nearest := (distance, instance, tag)):
            return
        if seat is not None:
            self._unseat(instance)
            freed.add(seat[2])
        entries = self.held[tag]
        if len(entries) == room[tag]:
            _, loser, _ = entries.pop()
            del self.seats[loser]
            todo.append(loser)
        insort(entries, nearest)
        self.seats[instance] = nearest

    def _nearest(self, instance: str, room: Mapping[int, int]) -> tuple[list[int], int, int]:
        """Return the tags of nearer, full nodes and of the one with a seat for `instance`; its distance."""
        full: list[int] = []
        for tag, distance in self._choices(position_of(instance)):
            entries = self.held[tag]
            if len(entries) < room[tag] or (entries and (distance, instance, tag) <= entries[-1]):
                return full, tag, distance
            full.append(tag)
        raise AssertionError("the rooms of all nodes add up to all instances, so one has room")

    def _choices(self, position: int) -> Iterator[tuple[int, int]]:
        """Yield (tag, distance) of every node once, nearest first, clockwise from `position`."""
        points = self.points
        first = bisect_left(points, position << TAG_BITS)
        seen: set[int] = set()
        for step in range(len(points)):
            point = points[(first + step) % len(points)]
            tag = point & TAG_MASK
            if tag not in seen:
                seen.add(tag)
                yield tag, ((point >> TAG_BITS) - position) % CIRCLE

    def _unseat(self, instance: str) -> None:
        seat = self.seats.pop(instance)
        entries = self.held[seat[2]]
        del entries[bisect_left(entries, seat)]

    def _just_before(self, added: Iterable[int]) -> Iterator[str]:
        """Yield the instances for which one of the points `added` is now the first."""
        for point in added:
            previous = self.points[bisect_left(self.points, point) - 1]
            start = bisect_left(self.positions, previous >> TAG_BITS)
            end = bisect_left(self.positions, (point >> TAG_BITS) + 1)
            wraps = previous >= point  # the arc holds position 0, or is the whole circle
            yield from self.instances[start:] + self.instances[:end] if wraps else self.instances[start:end]

    def _room(self) -> dict[int, int]:
        """Return by tag the most instances a node may hold; together always enough for all.

        What nodes may own counts if that is enough; else whoever asks has to leave some out.
        """
        # 1.15 * 100 is a little under 115 in floats; 1e-9 is far above that error and far below one instance.
        room = {
            tag_of(name): max(math.floor(_bound(name) * share + 1e-9), math.ceil(share - 1e-9))
            for name, share in fair_shares(self.nodes, len(self.instances)).items()
        }
        less = {tag_of(name): most for name, most in self.most.items()}
        capped = {tag: min(free, less.get(tag, free)) for tag, free in room.items()}
        return capped if sum(capped.values()) >= len(self.instances) else room


def checked(nodes: Mapping[str, float]) -> dict[str, float]:
    """Return a copy of `nodes`. Raises ValueError for a capacity that is not a finite number above 0."""
    for name, weight in nodes.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"node {name!r}: the capacity must be a finite number above 0, got {weight}")
    return dict(nodes)


def fair_shares(nodes: Mapping[str, float], instance_count: int) -> dict[str, float]:
    """Return how many instances are due to each node by capacity."""
    heaviest = max(nodes.values(), default=1.0)
    relative = {name: weight / heaviest for name, weight in nodes.items()}  # no sum overflows
    total = math.fsum(relative.values())  # exact, so the order in which nodes were seen does not show
    return {name: instance_count * (weight / total) for name, weight in relative.items()}


def _by_tag(nodes: Iterable[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for name in sorted(nodes):
        other = names.setdefault(tag_of(name), name)
        if other != name:
            raise ValueError(f"nodes {other!r} and {name!r} have the same hash: rename one")
    return names


def _bound(node: str) -> float:
    """Return the node's own bound, in (BOUND - BOUND_SPREAD, BOUND].

    Under one bound for all, every full node gives up an instance at the very
    same join: at 1,000 nodes of 100 instances that join moved twice its share.
    """
    return BOUND - BOUND_SPREAD * (tag_of(node) / (TAG_MASK + 1))
