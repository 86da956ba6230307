"""What a service does to its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Keeps 400,000 objects, as a cache does, and tells how often everything was looked at meanwhile, and whether
#: what nobody needs any more was found.
_PROGRAM = """
import gc, sys, weakref
from ringtime_shared.process.service import settle_memory

class Node: pass

if sys.argv[1] == "settled":
    settle_memory()
whole = []
gc.callbacks.append(lambda phase, info: whole.append(info) if info["generation"] == 2 else None)
lost = Node()
lost.itself = lost
lost = weakref.ref(lost)
kept = [[] for _ in range(400_000)]
print(len(whole), gc.get_freeze_count() > 0, lost() is None)
"""


def told(how: str) -> list[str]:
    argv = [sys.executable, "-c", _PROGRAM, how]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.slow
def test_what_is_kept_is_not_looked_at_again_and_garbage_is_found_all_the_same() -> None:
    assert int(told("as it is")[0]) > 4
    assert told("settled") == ["0", "True", "True"]
