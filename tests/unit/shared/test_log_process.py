"""The log of a whole process: every line parses, and its level changes while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

_PROGRAM = """
import asyncio, logging, sys, threading, warnings
from ringtime_shared.process.service import run_service

log = logging.getLogger("ringtime_ingest.there")
lib = logging.getLogger("cassandra.there")

async def main(settings):
    assert "rich" not in sys.modules  # a tenth of what a service imports, for tracebacks that nobody shows
    for line in iter(sys.stdin.readline, ""):
        if line == "bug\\n":
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)
            thread = threading.Thread(target=lambda: 1 / 0, name="t")
            thread.start()
            thread.join()
            warnings.warn("old ways")
        await asyncio.sleep(0)
        log.debug("d")
        lib.debug("not of ours")
        log.info("i")
        print("done", flush=True)
        await asyncio.sleep(0.05)

run_service(main, service="ingest", config=None, flags={})
"""


class Process:
    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "RINGTIME_LOGS_QUIET_S": "0", **environment},
        )  # fmt: skip

    def ask(self, what: str = "") -> None:
        """Have it say something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> list[dict[str, Any]]:
        """Return all that it said."""
        _, said = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        return [json.loads(line) for line in said.splitlines()]


def test_the_level_changes_while_it_runs() -> None:
    process = Process()
    process.ask()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        process.tell(number)
        for _ in range(2):  # the signal is heard between two of these, if it was not before
            process.ask()
    lines = process.end()
    assert {line["service"] for line in lines} == {"ingest"}
    events = [line["event"] for line in lines if "descriptors" not in line["event"]]
    louder = events.index("the level of the log is debug from now on")
    back = events.index("the level of the log is info from now on")
    assert "d" not in events[:louder]
    assert "d" in events[louder:back]
    assert "d" not in events[back:]
    assert "i" in events[back:]
    assert "not of ours" not in events


def test_whatever_goes_wrong_is_one_line_of_json() -> None:
    process = Process(RINGTIME_LOGS_LEVEL="warning")
    process.ask("bug")
    lines = process.end()
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("error", "asyncio"),
        ("critical", "ringtime_shared.logs.process"),
        ("warning", "py.warnings"),
    ]
    assert ["ZeroDivisionError" in line.get("exception", "") for line in lines] == [True, True, False]
    assert "old ways" in lines[2]["event"]
