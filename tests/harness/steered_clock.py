"""A wall clock that a test sets while a real process runs on it.

`python -m tests.harness.steered_clock FILE PORT DATA` is `ringtime serve` on the clock of the file, which
says how far ahead of the machine's it is, in seconds. Boot time is the machine's own. `... ringctl FILE
WORDS` is `ringctl` on it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ringtime.serve import serve
from ringtime_ringctl.deployment import context
from ringtime_ringctl.main import main
from ringtime_shared.clock import SystemClock
from ringtime_shared.process.service import run_service


class SteeredClock(SystemClock):
    """The machine's clock, off by what the file says at that moment."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDONLY)

    def now_ms(self) -> int:
        return super().now_ms() + round(float(os.pread(self._file, 32, 0)) * 1_000)


def steer(file: Path, ahead_s: float) -> None:
    """Set the clock of whoever runs on the file."""
    text = f"{ahead_s:+.3f}".ljust(32)
    with file.open("r+" if file.exists() else "w") as opened:  # one write over the old text: never torn
        opened.write(text)


if __name__ == "__main__":
    if sys.argv[1] == "ringctl":
        of_ringctl = SteeredClock(Path(sys.argv[2]))
        vars(context)["SystemClock"] = lambda: of_ringctl
        main(sys.argv[3:])
    file, port, data = sys.argv[1:]
    clock = SteeredClock(Path(file))
    run_service(
        lambda settings: serve(settings, clock=clock),
        service="ringtime",
        config=None,
        flags={"server.port": int(port), "embedded.data": data},
    )
