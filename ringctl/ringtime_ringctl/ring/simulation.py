"""`ringctl ring --simulate`: the ring with other nodes, computed as the dispatchers do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ringtime_shared.errors import InvalidRequest, NotFound

_JOIN = re.compile(r"\+(\d{1,4})(?: nodes?)?")
_LEAVE = re.compile(r"-(?:node )?([A-Za-z0-9_.-]+)")
MAX_NODES = 1_000  #: a ring of more takes minutes
FORMS = "+2 (two more nodes) or -NODE (without that node)"


def change_nodes(nodes: Mapping[str, float], changes: Sequence[str]) -> dict[str, float]:
    """Return the nodes after `changes`, one after the other.

    Args:
        nodes: capacity of each node by name.
        changes: each as `FORMS` says. New nodes have capacity 1 and made-up names.

    Raises InvalidRequest, NotFound (node).
    """
    after = dict(nodes)
    for change in changes:
        if join := _JOIN.fullmatch(change):
            names = (f"new-{number}" for number in range(1, MAX_NODES + 1))
            free = [name for name in names if name not in after][: int(join[1])]
            after |= dict.fromkeys(free, 1.0)
        elif leave := _LEAVE.fullmatch(change):
            if after.pop(leave[1], None) is None:
                raise NotFound("node", leave[1])
        else:
            raise InvalidRequest.of("--simulate", f"must be {FORMS}")
        if len(after) > MAX_NODES:
            raise InvalidRequest.of("--simulate", f"must not lead to more than {MAX_NODES} nodes")
    return after
