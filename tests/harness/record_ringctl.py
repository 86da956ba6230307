"""Record the walk-through of `docs/ringctl.md` anew: `python -m tests.harness.record_ringctl`.

Starts a real cluster (Cassandra, etcd, Kafka, an ingest pod, three dispatchers), gives it something to do,
runs `ringctl` on a terminal of 80 columns, and puts what that showed between the markers in the document.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringtime_local.cluster import Cluster
from tests.harness.client import LoadClient
from tests.harness.receiver import running_receiver

COLUMNS = 80
DOCUMENT = Path("docs/ringctl.md")
BEGIN, END = "<!-- recorded: begin -->\n", "<!-- recorded: end -->\n"
_HOME = Path(__file__).parents[2]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_SETTLE_S = 60.0


class Recorder:
    """Runs commands where `ringtime.json` is, and keeps what they showed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.text = ""
        self._is_open = False

    def say(self, text: str) -> None:
        """Write a paragraph of the document."""
        self._close()
        self.text += f"\n{text}\n"

    def run(self, *words: str, shows_code: bool = False) -> None:
        """Run `ringctl` on a terminal; `shows_code`: ask the shell for its exit code after it."""
        if not self._is_open:
            self.text += "\n```console\n"
            self._is_open = True
        line = " ".join(f"'{word}'" if " " in word else word for word in words)
        self.text += f"$ ringctl {line}\n"
        shown, code = run_on_terminal(self._folder, words)
        print(f"$ ringctl {line}\n{shown}", flush=True)
        self.text += shown
        if shows_code:
            self.text += f"$ echo $?\n{code}\n"
        elif code:
            raise SystemExit(f"ringctl {line} ended with {code}")

    def json(self, *words: str) -> Any:
        """Run `ringctl --json` without recording it."""
        command = [sys.executable, "-m", "ringtime_ringctl.main", "--json", *words]
        done = subprocess.run(command, cwd=self._folder, env=_environment(), capture_output=True, check=False)
        return json.loads(done.stdout)

    def wait(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + _SETTLE_S
        while not holds():
            if time.monotonic() > until_s:
                raise SystemExit("the cluster did not come to rest")
            time.sleep(0.5)

    def finish(self) -> str:
        self._close()
        return self.text

    def _close(self) -> None:
        if self._is_open:
            self.text += "```\n"
            self._is_open = False


def run_on_terminal(folder: Path, words: tuple[str, ...]) -> tuple[str, int]:
    """Return what a person at a terminal without colours would see in the end, and the exit code.

    Progress bars are gone by then: stderr is no terminal, so there are none.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "ringtime_ringctl.main", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=_environment(), stdout=slave, stderr=subprocess.PIPE, text=False
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65_536)
        except OSError:  # the other end is closed: that is how a terminal ends
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.stderr is not None
    shown += process.stderr.read()
    text = _ESCAPES.sub("", shown.decode()).replace("\r\n", "\n")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines()), process.wait()


def _environment() -> dict[str, str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RINGTIME_", "COLUMNS", "LINES"))
    }
    return ours | {
        "TERM": "xterm-256color",
        "NO_COLOR": "1",
        "RINGCTL_OPERATOR": "ann",
        "PYTHONPATH": str(_HOME),
    }


async def fill(base: str, url: str) -> dict[str, str]:
    """Register apps and file schedules; return the ids the walk-through uses."""
    ids: dict[str, str] = {}
    now_s = int(time.time())
    async with LoadClient(base, 16) as client:
        for app_id, partitions in (("pay", 2), ("mail", 16), ("sla", 24)):
            body = {"appId": app_id, "partitions": partitions, "active": True}
            assert (await client.request("POST", "/apps", body)).status == 200

        async def create(app_id: str, at_s: int, target: str, **more: object) -> str:
            details = {"url": target, "method": "POST", "headers": {}}
            body = {
                "appId": app_id,
                "payload": "{}",
                "scheduleTime": at_s,
                "callback": {"type": "http", "details": details},
            }
            answer = await client.request("POST", "/schedules", body | more)
            assert answer.status == 200, answer
            return str(answer.data["schedule"]["scheduleId"])

        ids["failed"] = await create(
            "mail", now_s + 2, "http://127.0.0.1:9/closed", retryPolicy={"attempts": 1}
        )
        ids["pending"] = await create("pay", now_s + 5_400, url)
        peak_s = now_s // 60 * 60 + 7_200
        await asyncio.gather(*(create("pay", peak_s + n % 50, url) for n in range(3_000)))
        await asyncio.gather(*(create("pay", now_s + 3_600 + 60 * n, url) for n in range(40)))
    return ids


def walk(recorder: Recorder, cluster: Cluster, ids: dict[str, str]) -> None:
    """The walk-through itself."""
    config = ("--config", "ringtime.json")

    def owned() -> list[int]:
        return [node["owned"] for node in recorder.json(*config, "nodes")["nodes"]]

    recorder.wait(lambda: len(owned()) == 3 and min(owned()) > 8 and sum(owned()) == 42)
    recorder.say("`ringtime.json` is the settings file of the pods. Who is there, and who owns what:")
    recorder.run(*config, "nodes")
    recorder.run(*config, "ring")
    recorder.say("What two more nodes would change, and what would happen without one. Nothing is touched:")
    recorder.run(*config, "ring", "--simulate", "+2", "nodes")
    recorder.run(*config, "ring", "--simulate", "-node", "dispatcher-3")
    recorder.say("Is the quota of `pay` enough for what it has ahead?")
    recorder.run(*config, "forecast", "pay", "--hours", "3")
    recorder.say("It is not. The plan first, then the change, while schedules go on being filed and fired:")
    recorder.run(*config, "resize", "pay", "--partitions", "4")
    recorder.run(*config, "resize", "pay", "--partitions", "4", "--apply")
    recorder.run(*config, "apps", "list")
    recorder.say("`dispatcher-2` is to be stopped. Empty it first, and give it work again afterwards:")
    recorder.run(*config, "drain", "dispatcher-2", "--wait")
    recorder.run(*config, "nodes")
    recorder.run(*config, "undrain", "dispatcher-2")
    recorder.say("What is to fire, and everything about one schedule:")
    recorder.run(*config, "schedules", "list", "pay", "--from", "+80m", "--to", "+95m", "--limit", "3")
    recorder.run(*config, "explain", ids["pending"])
    recorder.run(*config, "schedules", "cancel", ids["pending"])
    recorder.say("A delivery that was given up, and another try for it:")
    recorder.wait(lambda: bool(recorder.json(*config, "deadletters", "list", "mail")["deadLetters"]))
    recorder.run(*config, "deadletters", "list", "mail")
    recorder.run(*config, "deadletters", "replay", "mail", ids["failed"], "--api", cluster.base)
    recorder.wait(lambda: bool(recorder.json(*config, "deadletters", "list", "mail")["deadLetters"]))
    recorder.run(*config, "explain", ids["failed"])
    recorder.wait(lambda: len(owned()) == 3 and min(owned()) > 8)
    recorder.say("Is all well? And a moment after `dispatcher-3` was killed?")
    recorder.run(*config, "doctor")
    cluster.pods["dispatcher-3"].process.signal(signal.SIGKILL)
    time.sleep(0.5)
    recorder.run(*config, "doctor", shows_code=True)
    recorder.say("Its lease ends after ten seconds, and the others take over:")
    recorder.wait(lambda: len(owned()) == 2 and not recorder.json(*config, "ring")["unowned"])
    recorder.run(*config, "nodes")
    recorder.say("Who changed what today:")
    recorder.run(*config, "audit")
    recorder.say("What is wrong is told in one line, and nothing is changed:")
    recorder.run(*config, "forecast", "nope", shows_code=True)
    recorder.run(*config, "drain", "dispatcher-9", shows_code=True)


def main() -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings: dict[str, object] = {"coordination": {"join_debounce_ms": 2_000, "dwell_ms": 4_000}}
        cluster = Cluster(folder, ingest=1, dispatchers=3, settings=settings)
        try:
            cluster.start()
            with running_receiver(folder) as receiver:
                recorder = Recorder(folder)
                walk(recorder, cluster, asyncio.run(fill(cluster.base, receiver.url)))
        finally:
            cluster.stop()
    DOCUMENT.write_text(before + BEGIN + recorder.finish() + END + after)


if __name__ == "__main__":
    main()
