"""Run a program that gives way: `give_way.py NICENESS PROGRAM [ARGUMENT ...]`. It leads a session of its own.

What it starts inherits that, and so do the servers of `ringtime_local`, each in its own session.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

IDLE = 19  #: the niceness of what takes only the time that nobody else asks for


def give_way(niceness: int) -> None:
    """Have this process, and the session that it leads, give way to all that are less nice."""
    os.nice(niceness)
    # Linux may share time out among sessions first: see "autogroup" in sched(7).
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
    if niceness == IDLE:
        with suppress(AttributeError, OSError):  # not every system has such a class
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    give_way(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
