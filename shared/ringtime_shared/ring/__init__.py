"""The ring: which node should own which poller instance. Pure: no I/O, no clock, no randomness.

A consistent-hash ring with virtual nodes and bounded loads. A node has 1,024
points on a circle for each 1.0 of capacity, an instance has one position, and
it belongs to the first node clockwise that has room for it. A node has room
for about 1.15 times its fair share by capacity; if more come, the nearest stay
and the others walk on ("spill").

The members of a group (`parts`) have their positions close together, so they have
one owner, but for spill: a node reads the parts of the index that hold its groups,
and with as many parts as groups hardly anybody else reads those.

Invariants
----------
1. *No history.* The placement is a function of the set of instances and of the
   nodes with their capacities alone. Nodes that know the same membership agree,
   in whatever order they learned it, after an update or a rebuild.
2. *Bound.* A node's load is at most max(1.15 * share, ceil(share)). From 7.2
   instances a node on that is 1.15 * share; below, instances do not divide finer.
3. *Only what must.* When one node comes or goes, an instance changes hands only if
   it goes to the newcomer, comes from the leaver, or is spilled before or after.

Why they hold
-------------
1. Rank all (instance, node) pairs by (distance, node hash, instance). Call a
   placement stable if no instance would sit nearer at a node that has room or
   holds someone further away. The first pair of the ranking is in every stable
   placement: its instance can do no better, and its node prefers it to all. Take it
   out and repeat: there is exactly one stable placement. An update moves single
   instances nearer or drives out one further away, so the sorted list of distances
   falls at every step: it ends, in a stable placement, hence in the only one. The
   rank of a pair depends on no other node or instance. Capacities are summed exactly
   (`fsum`), so that even rounding knows no order.
2. Rooms are never exceeded, and as each is >= its fair share they add up to at least
   all instances, so everyone finds one. With room for 1.14 shares, from 1 / 0.14 = 7.2
   on, a whole number >= the share fits below 1.15 shares.
3. Whoever sits at the first point after it, before and after, has the same first
   point, or the newcomer's, or had the leaver's.

What the numbers were chosen from
---------------------------------
Moves of one join in units of X / (N + 1) and of one leave in units of X / N, mean / worst; "over" is the
share of them above 1.25. As it is (60 sets of names, `benchmarks/ring.py 60`):

    shape            max/mean   join          over     leave         over
    3 x 64            1.125     1.08 / 1.31   5 %      1.04 / 1.22   0
    10 x 1,000        1.144     1.04 / 1.21   0        1.03 / 1.16   0
    100 x 10,000      1.148     1.09 / 1.30   8 %      1.08 / 1.29   5 %

The fewer groups, the more uneven are the nodes, the more of them are full, and those exchange instances at
each join; the more groups, the more parts has a node to ask for to read its own alone. 100 nodes, 10,000
instances (120 sets of names), and 100,000 for the reads with as many parts as groups:

    groups    join    leave   worst   over    parts a node reads   nodes that read an entry
    none      1.08    1.09    1.29    2 %     all                  all
    4,096     1.40    1.37    1.69    80 %    41                   1.01
    65,536    1.10    1.11    1.36    10 %    510                  1.00
    131,072   1.10    1.07    1.31    4 %     706                  1.00    chosen
    262,144   1.09    1.10    1.31    4 %     830                  1.00

Residues of a CRC instead of what `group_of` mixes: 1.12, and 10 to 13 % over, at any of these numbers.

Of points and bound, with the position of each instance by its own name alone (100 to 2,000 sets of names,
four styles of host name, apps of 1 to 64 partitions):

    shape           points  bound  max/mean   join          over    leave         over
    3 x 64            256   1.15    1.125   1.07 / 1.44   3.4 %   1.03 / 1.27   0.4 %
                     1024   1.10    1.094   1.10 / 1.44   4.6 %   1.05 / 1.41   1.6 %
                     1024   1.15    1.125   1.06 / 1.44   2.9 %   1.03 / 1.45   1.3 %  chosen
                     1024   1.25    1.219   1.04 / 1.44   3.0 %   1.02 / 1.36   1.0 %
                     2048   1.15    1.125   1.06 / 1.38   2.4 %   1.03 / 1.31   0.7 %
    10 x 1,000        256   1.15    1.144   1.04 / 1.27   1.0 %   1.04 / 1.23   0
                     1024   1.10    1.098   1.07 / 1.21   0       1.04 / 1.19   0
                     1024   1.15    1.144   1.03 / 1.25   0.1 %   1.02 / 1.23   0      chosen
                     1024   1.25    1.243   1.02 / 1.24   0       1.00 / 1.24   0
                     2048   1.15    1.144   1.02 / 1.20   0       1.02 / 1.22   0
    100 x 10,000      256   1.15    1.148   1.14 / 1.37   20 %    1.13 / 1.37   14 %
                      512   1.15    1.148   1.11 / 1.33   7.5 %   1.10 / 1.33   6 %
                     1024   1.10    1.099   1.20 / 1.42   40 %    1.21 / 1.39   33 %
                     1024   1.15    1.148   1.08 / 1.30   4 %     1.09 / 1.32   2.2 %  chosen
                     1024   1.25    1.247   1.01 / 1.27   2 %     1.04 / 1.26   1 %
                     2048   1.15    1.148   1.07 / 1.36   3.5 %   1.07 / 1.28   1 %
    1,000 x 100,000  1024   1.15    1.149   1.23 / 1.29   2 of 4  1.21 / 1.27   1 of 4

The bound always holds. There the moves keep to 1.25 nearly always, not always, and no
choice of these two numbers would make it always: which of 10,000 hashed instances
fall to one node of 100 is a matter of chance, 100 give or take 10, so a node that
joins may take 1.15 shares itself, and about 8 full nodes exchange one instance each
with a neighbour as all rooms shrink. More points only make arcs even (1,024: give or
take 3 %), and cost time. At 3 x 64 one instance is 0.06 shares; the worst is 3 too many.

- *Fewer than 7 instances a node*: rooms have little or no slack and more moves (3 x 20:
  join 1.25, worst 1.8, of 5 instances). With one to three for each of 1,000 nodes most
  instances change hands at once when the mean passes a whole number.
- *Single bounds* lie between 1.14 and 1.15 by the node's hash. Under one bound for all,
  every full node gives up an instance at the same join: 12.5 % of joins at 100 x 10,000
  were over, and one at 1,000 x 100,000 moved 2.0 shares.
- *A new app* of 20 partitions moves instances of others: 1 in the mean at 3 x 64 (worst
  4), 1 at 10 x 1,000 (5), 4 at 100 x 10,000 (9).
- *Not taken*: bounded loads in hash order instead of distance order, and keeping those at
  their first choice (same moves); prices for full nodes, or node sizes fitted to the
  instances present (fewer full nodes, but every new app moves others); rendezvous hashing
  (perfect arcs, but nodes x instances hashes).

Failures
--------
The ring is advice. Ownership is the claim key in etcd, and only the epoch of a claim
lets anyone send, so no disagreement about the ring can make two owners.

    what happens                              what follows
    two nodes see different memberships       both compute a valid ring of what they see. An instance
                                              may be wanted by two (one claim succeeds) or by none
                                              (unowned until they agree: a watch delay, < 1 s)
    the owner sees the change first           it releases, and nobody claims until the target sees it too
    the target sees the change first          its claim fails while the key stands; it waits for the delete
    a node is listed with another capacity    as above; it ends when both have read the node's key
    instances known to one node only          as above, and a few spilled others may differ; seen apps
                                              converge by the same watch
    no node                                   no owner: `owner` is None, loops wait
    two node names with the same hash         ValueError that names both (one cluster of 1,000 in 10**8)
    a capacity of 0, below, nan or inf        ValueError that names the node
    another version computes another ring     claims still exclude each other, but instances move at each
                                              restart of a rolling upgrade: POINTS, BOUND, groups and
                                              hashes are part of the protocol between nodes

Cost
----
A rebuild sorts all points and finds one for each instance. An update splices one node's
points in or out, looks at the arcs that changed and at the spilled, and copies the rest;
then again at those of the spilled that were turned away where a seat has been freed.
CPU seconds of `benchmarks/ring.py` (one core of a busy 2-core machine, Python 3.11):

    shape            rebuild   join    leave   new app of 20
    100 x 10,000      0.069    0.006   0.003   0.004
    1,000 x 100,000   1.07     0.083   0.081   0.12

Sources
-------
Karger et al., "Consistent Hashing and Random Trees", STOC 1997. Mirrokni, Thorup,
Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016 (arXiv 1608.01350). Uniqueness
when all rank pairs alike: Abraham, Levavi, Manlove, O'Malley, "The Stable Roommates Problem
with Globally-Ranked Pairs", WINE 2007; the steps of an update are those of Gale and Shapley, 1962.
"""

from ringtime_shared.ring.fit import fitted
from ringtime_shared.ring.placement import BOUND, fair_shares
from ringtime_shared.ring.ring import Move, Ring, imbalance, plan_moves

__all__ = ["BOUND", "Move", "Ring", "fair_shares", "fitted", "imbalance", "plan_moves"]
