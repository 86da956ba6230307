"""File descriptors: the soft limit is raised, and what there is is shared out."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest

from ringtime_shared.process.descriptors import fit_attempts, is_shortage, share_out
from ringtime_shared.settings import DispatchSettings

RAISE = """
import json, resource
from ringtime_shared.process.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
print(json.dumps([raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


@pytest.mark.parametrize("hard", [256, 1_000])
def test_the_soft_limit_is_raised_to_the_hard_one(hard: int) -> None:
    done = subprocess.run([sys.executable, "-c", RAISE.format(hard=hard)], capture_output=True, check=True)
    assert json.loads(done.stdout) == [hard, hard, hard]


@pytest.mark.parametrize("limit", [1, 2, 64, 256, 1_024, 20_000, 1 << 20])
def test_nobody_gets_what_is_not_there(limit: int) -> None:
    shares = share_out(limit)
    assert min(shares.clients, shares.callbacks) >= 1
    if limit >= 3:
        assert shares.own + shares.clients + shares.callbacks <= limit
    if limit >= 512:
        assert shares.own >= 128


def test_attempts_are_bounded_by_what_is_there() -> None:
    asked = DispatchSettings(max_in_flight=500)
    assert fit_attempts(asked, 20_000) is asked
    assert fit_attempts(asked, 1_024).max_in_flight == 448


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EMFILE, "too many"), True),
        (OSError(errno.ENOBUFS, "no buffers"), True),
        (MemoryError(), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (OSError("no number"), False),
        (ValueError(), False),
    ],
)
def test_a_shortage_is_told_from_a_fault(error: Exception, expected: bool) -> None:
    assert is_shortage(error) is expected
