"""How many attempts each app may have under way, so that those who wait long leave permits to the others.

A destination is **quick** if its latest attempt ended within a second and none has been under way for
longer. Every other one, slow, hanging, or not heard of yet, may hold a permit for as long as its timeout
says, and nothing can take it back. So the `most` permits of a node (M) are given out by two rules, of which
a fifth (K) of the permits is kept back:

| an app may start one more | if it holds so many permits by this rule, h | and |
|---|---|---|
| for a destination that is not quick | h < M - K - U, or h = 0 | U < M - K/2 |
| for one that is quick | h < F - K, or h < 8 | F > 0 |

F is how many permits are free, U how many are held by starts of the first rule, of all apps.

What follows:

1. U <= M - K/2. By `h < M - K - U` it ends at M - K; beyond that each app gets one, and none from M - K/2 on.
   So however many apps hang, and for however long, K/2 permits (50 of 500) go to quick destinations alone.
2. A new app, of which nothing is known, gets its first permit at once as long as fewer than K/2 apps that
   hang hold one of the last. That one answer makes its destination quick.
3. An app alone holds (M - K)/2 permits (200 of 500) by either rule, of n apps that come together each
   (M - K)/(n + 1): what one may take shrinks with what all have taken.
4. A permit held for a quick destination is free again within a second, or the destination is not quick any
   more. Where all are quick, every app has 8 permits and its turns by weight, and no permit stays unused.
5. Apps that were quick and hang all at once hold what they may by the second rule until their timeouts end:
   at most max(8, what is free less K) each.

Source for shrinking with what is free: A. Choudhury and E. Hahne, "Dynamic Queue Length Thresholds for
Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998, with alpha = 1.
"""

from __future__ import annotations

QUICK, OTHER = 0, 1  #: the kinds of destinations
QUICK_MS = 1_000
SURE = 8  #: permits that an app may have for quick destinations as long as one is free


class InFlight:
    """Counts attempts under way. A kind's `used` and `limit` are so made that `used < limit` says whether an
    app that holds `held` permits of that kind may take one more, free permits given."""

    __slots__ = ("_kept", "_most", "_others", "_total")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = most // 5
        self._total = 0
        self._others = 0

    @property
    def is_full(self) -> bool:
        return self._total >= self._most

    @property
    def total(self) -> int:
        return self._total

    def used(self, kind: int) -> int:
        return self._others if kind else self._total

    def limit(self, kind: int, held: int) -> int:
        if kind:
            return self._most - self._kept - held if held else self._most - self._kept // 2
        return self._most - self._kept - held if held >= SURE else self._most

    def has_room(self, kind: int, held: int) -> bool:
        """Whether an app that holds `held` permits of this kind may take one more."""
        return self.used(kind) < self.limit(kind, held) and not self.is_full

    def begin(self, kind: int) -> None:
        self._total += 1
        self._others += kind

    def end(self, kind: int) -> None:
        self._total -= 1
        self._others -= kind
