"""Short-lived programs: Maven, apt, Go, Kafka's formatter, docker."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from ringtime_local.errors import Aborted, StartFailed
from ringtime_local.guard import guard
from ringtime_local.pids import ProcessId

POLL_S = 0.05
LOG_LINES = 30


def run_tool(
    argv: Sequence[str],
    *,
    abort: Event,
    timeout_s: float,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed; it is ended when `abort` is set."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            guard.watch(ProcessId.of(process.pid))
            _wait(process, abort, timeout_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise StartFailed(f"`{' '.join(argv)}` ended with {process.returncode}:\n{last_lines(text)}")
    return text


def last_lines(text: str, count: int = LOG_LINES) -> str:
    """Return the last lines of a log, indented."""
    lines = text.rstrip().splitlines()[-count:]
    return "\n".join(f"    {line}" for line in lines) or "    (no output)"


def _wait(process: subprocess.Popen[bytes], abort: Event, timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    while process.poll() is None:
        if abort.wait(POLL_S):
            raise Aborted("given up")
        if time.monotonic() > give_up_at:
            raise StartFailed(f"{process.args!r} took more than {timeout_s:.0f} s")
