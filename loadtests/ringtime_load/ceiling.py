"""What Locust itself reaches here: creates a second to a receiver that answers at once and stores nothing.

Run as `python -m ringtime_load.ceiling [WORKERS] [SECONDS]`. A load near this figure measures Locust.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from ringtime_load.plan import plan_of
from ringtime_load.session import generating, read_requests, receiving


def measure(workers: int, seconds: float, folder: Path) -> str:
    """Return a line that says what was reached."""
    with receiving(folder) as port:
        base = f"http://127.0.0.1:{port}"
        plan = plan_of("kafka", factor=10.0, seconds=seconds, ramp_s=0)  # no user ever waits
        plan = msgspec.structs.replace(plan, hosts=(base,), callback="http", callback_url=f"{base}/callback")
        with generating(plan, folder, workers=workers, web_port=None) as locust:
            locust.wait(seconds + 60)
    (create,) = read_requests(folder)
    return f"{workers} workers: {create.count / seconds:,.0f} creates/s, p99 {create.p99_ms:,.0f} ms"


if __name__ == "__main__":
    count, length, *_ = [int(word) for word in sys.argv[1:]] + [0, 10][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as made:
        print(measure(count, float(length), Path(made)))
