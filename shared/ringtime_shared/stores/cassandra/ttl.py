"""How long rows are kept.

Every write carries the rest of its row's time, so all cells of a row end together and nothing is ever
deleted. Two safety margins keep a row from ending too early, which would lose it or bring it back to life:

- A row is kept for at least a day after its slot and after its last write, whatever its `expires_ms`.
- What is written to a row later is kept a little longer than the row, because clocks differ and a repeated
  create counts anew: a row whose outcome ended first would read as live. What is left over when the row
  has ended is no row, and reads ignore it.
"""

from __future__ import annotations

LEAST_KEPT_MS = 86_400_000
LATER_MARGIN_MS = 180_000  #: clocks of two machines are taken to differ by less than a minute
MAX_TTL_S = 630_720_000  #: the server's limit, 20 years; what should be kept longer has no TTL at all


def row_end_ms(slot_ms: int, expires_ms: int, now_ms: int) -> int:
    """Return until when the row must be kept."""
    return max(expires_ms, slot_ms + LEAST_KEPT_MS, now_ms + LEAST_KEPT_MS)


def ttl_s(end_ms: int, now_ms: int) -> int:
    """Return the TTL of a write now; 0 means none."""
    ttl = -((now_ms - end_ms) // 1000)
    return ttl if ttl <= MAX_TTL_S else 0
