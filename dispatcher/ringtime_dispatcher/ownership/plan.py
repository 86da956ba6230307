"""Own what the ring gives this node: claim what is free, hand over what belongs elsewhere.

The ring is advice, claims decide: two nodes that see different members for a moment may want the same
instance, but only one claim can exist, and the store ignores marks of an older term.

A handover is always begun by the owner: it stops sending, waits for what is in flight, publishes its
last `settled`, and gives up the claim; the ring's owner sees it free and claims it. Three rules keep
handovers rare:

- a node counts in the ring only after it was a member for `join_debounce_ms`; those already there at
  the first look count at once, so a cluster that starts together need not wait;
- an instance that came here from another node stays for `dwell_ms`;
- an owner that dies or leaves is replaced at once, and one that an operator drains hands over at once.

A node may say how many instances it may own (`Member.most`, from its memory). The ring gives it no more while
others have room; when nobody has, what is beyond has no owner, and nothing of it fires until there is one.

| what fails | what happens |
|---|---|
| lease lost | every instance is dropped without a word; the node joins anew with a new lease |
| claim taken away by hand | the node stops running that instance at its next look |
| claim not answered | looked up at the next view; an instance held in the claims but not taken is released |
| more instances than all nodes may own | those beyond have no owner; log and `/health/ready` say how many |
| a handover's last mark is lost | the next owner starts at an older `settled`, skips what has outcomes |
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Set
from dataclasses import dataclass, field

from ringtime_shared.coordination.protocol import Claim, Member, View, fit_members
from ringtime_shared.models.app import Instance
from ringtime_shared.ring import Ring, fair_shares


@dataclass(frozen=True, slots=True)
class OwnershipPlan:
    """What to do about ownership now."""

    claim: list[Instance] = field(default_factory=list)
    hand_over: list[Instance] = field(default_factory=list)  #: drain, then release
    retire: list[Instance] = field(default_factory=list)  #: the same, without waiting: polled no more
    abandon: list[Instance] = field(default_factory=list)  #: release at once: claimed but not run here
    drop: list[Instance] = field(default_factory=list)  #: stop at once: run here but claimed no more
    left_out: int = 0  #: free, wanted here, and more than this node may run


def plan_ownership(
    node: str,
    view: View,
    *,
    wanted: Set[Instance],
    polled: Container[Instance],
    running: Set[Instance],
    settled_in: Container[Instance],
    most: int | None = None,
) -> OwnershipPlan:
    """Compare what the ring gives this node with what it has.

    Args:
        wanted: the instances the ring gives this node.
        polled: all instances of all active apps.
        running: the instances this node runs.
        settled_in: those of `running` that may move again.
        most: how many this node may run; what is beyond is not claimed.
    """
    # Set operations, not a loop each: a node may have a hundred thousand.
    claims = view.claims.keys()
    held_in_claims = {each for each, claim in view.claims.items() if claim.node == node}
    surplus = (running & held_in_claims) - wanted
    free = sorted(wanted - claims - running)
    count = len(free) if most is None else max(most - len(running), 0)
    return OwnershipPlan(
        claim=free[:count],
        left_out=len(free[count:]),
        hand_over=sorted(each for each in surplus if each in polled and each in settled_in),
        retire=sorted(each for each in surplus if each not in polled),
        abandon=sorted(held_in_claims - running),
        drop=sorted(running - held_in_claims),
    )


class Membership:
    """The members that count, and the ring over them; updated, not rebuilt, as they come and go."""

    def __init__(self, *, join_debounce_ms: int) -> None:
        self._debounce_ms = join_debounce_ms
        self._since_ms: dict[str, int] = {}
        self._is_first_look = True
        self._ring = Ring()
        self._counted: dict[str, Member] = {}
        self._nodes: tuple[dict[str, float], dict[str, int]] = {}, {}  # on the ring, as `fit_members` has it
        self._by_name: dict[str, Instance] = {}  # one object of each in memory, whoever names it
        self._wanted: dict[str, frozenset[Instance]] = {}

    def observe(self, view: View, *, boot_ms: int) -> None:
        """Note who is there; a node's first look has no way to know for how long they were.

        A drained node is there, and so counts at once when it is undrained, but has no share.
        """
        members = view.members
        for node in members:
            if node not in self._since_ms:
                self._since_ms[node] = boot_ms - self._debounce_ms if self._is_first_look else boot_ms
        for node in [known for known in self._since_ms if known not in members]:
            del self._since_ms[node]
        self._is_first_look = self._is_first_look and not members
        eligible = dict(view.eligible())
        counted = {
            node: member
            for node, member in eligible.items()
            if boot_ms - self._since_ms[node] >= self._debounce_ms
        }
        # Nobody old enough: better a young owner than none.
        self._counted = counted or eligible
        self._fit()

    def _fit(self) -> None:
        nodes = fit_members(self._counted, len(self._by_name))
        if nodes != self._nodes:
            self._nodes = nodes
            self._ring = self._ring.with_nodes(*nodes)
            self._wanted.clear()

    def place(self, come: Iterable[Instance], gone: Iterable[Instance]) -> None:
        """Put instances on the ring that are not there, take others off that are."""
        names = {str(each): each for each in come}
        leaving = {str(each) for each in gone}
        if names or leaving:
            self._ring = self._ring.with_exchanged(names.keys(), leaving)
            self._by_name |= names
            for name in leaving:
                del self._by_name[name]
            self._wanted.clear()
            self._fit()

    def imbalance_of(self, node: str) -> float:
        """Return what the ring gives to `node` over what is its due by the nodes' weights; 1 if that is 0."""
        due = fair_shares(self._ring.nodes, len(self._by_name)).get(node, 0.0)
        return len(self.wanted_by(node)) / due if due else 1.0

    def wanted_by(self, node: str) -> frozenset[Instance]:
        """Return what the ring gives to `node`."""
        if node not in self._wanted:
            self._wanted[node] = frozenset(map(self._by_name.__getitem__, self._ring.owned_by(node)))
        return self._wanted[node]


def came_from_another(instance: Instance, seen: Mapping[Instance, Claim], node: str) -> bool:
    """Whether the claim last seen on `instance` was another node's."""
    return instance in seen and seen[instance].node != node
