"""What the tests count as work of others."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.harness import machine


@contextmanager
def stranger(niceness: int) -> Iterator[int]:
    """A process that nobody here is the parent of."""
    start = f"nice -n {niceness} sh -c 'sleep 60 >/dev/null 2>&1 & echo $!'"  # as nice from the start
    pid = int(subprocess.run(["sh", "-c", start], stdout=subprocess.PIPE, check=True).stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("niceness", "counts"), [(0, False), (1, True)])
def test_who_gives_way_is_no_stranger(niceness: int, counts: bool) -> None:
    with stranger(niceness) as pid:
        assert (pid in machine._own_ticks()) is counts
    assert os.getpid() in machine._own_ticks()
