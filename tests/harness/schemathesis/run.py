"""Run Schemathesis against a server of its own: `python -m tests.harness.schemathesis.run [options]`.

The options are those of `st run`. With `--each SECONDS` the routes are run one after the other, each for so
many seconds at most, and a line says what came of each: how many requests were made up at random, which is
what `-n` bounds, and how many with those of the other phases. A route that is out of time has failed.
`--only REGEX` chooses some, as 'PUT .*/recurring/'. The server asks for API keys, and Schemathesis has one.

Schemathesis lives in a virtual environment of its own, which `make schemathesis` makes: it is no dependency.
The singular paths have the same handlers, and are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringtime_shared.access.grants import Scope
from ringtime_shared.access.keys import issue_key
from ringtime_shared.clock import SystemClock
from ringtime_shared.stores.sqlite import SqliteStore
from tests.harness.server import serving

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMAND = ROOT / ".ringtime" / "schemathesis" / "bin" / "st"
_SINGULAR = r"^/goscheduler/(app|schedule)(/|$)"
_COUNTS = re.compile(r"\d+ generated.*")
_FUZZED = re.compile(r"^fuzzed: (\d+)$", re.MULTILINE)  #: as hooks.py says it in the end
_APPS = ("test", "configured", "gone", "stopped")  #: hooks.py says what each is for
_ENDING_S = 20  #: to say what came of it


def main() -> None:
    """Exit as Schemathesis does: 0 if it found nothing; with `--each` 1 if it found something on a route."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--each", type=float, metavar="SECONDS")
    parser.add_argument("--only", default="", metavar="REGEX")
    ours, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authorization = f"Bearer {asyncio.run(_issue_key(folder / 'data'))}"
        with serving(folder, access_keys="required") as server:
            headers = {"Authorization": authorization, "Content-Type": "application/json"}
            for app_id in _APPS:
                app = json.dumps({"appId": app_id, "partitions": 4, "active": True}).encode()
                _ask(f"{server.base}/apps", headers, app)
            document = server.base.replace("/goscheduler", "/openapi.json")
            command = [
                *(str(COMMAND), "--config-file", str(HERE / "schemathesis.toml")),
                *("run", document, "--checks", "all", "--header", f"Authorization: {authorization}"),
                *("--exclude-path-regex", _SINGULAR, "--suppress-health-check", "all", "--no-color"),
                *("--continue-on-failure", *options),
            ]
            if ours.each is None:
                sys.exit(subprocess.run(command, cwd=folder, env=_environment(), check=False).returncode)
            names = _routes(json.loads(_ask(document, headers)))
            chosen = [each for each in names if re.search(ours.only, each)]
            failed = [each for each in chosen if not _run_one(command, each, folder, ours.each)]
    print(f"{len(chosen)} routes, {len(failed)} with failures", flush=True)
    sys.exit(bool(failed))


async def _issue_key(data: Path) -> str:
    """Have a key that may do everything before the server is there."""
    store = await SqliteStore.open(data)
    try:
        now_ms = SystemClock().now_ms()
        return (await issue_key(store, Scope, None, label="schemathesis", now_ms=now_ms))[0]
    finally:
        await store.close()


def _ask(url: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers))) as answer:
        return bytes(answer.read())


def _environment() -> dict[str, str]:
    return {**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "PYTHONPATH": str(HERE)}


def _routes(document: Mapping[str, Mapping[str, Mapping[str, object]]]) -> list[str]:
    """Return the names of the operations, as Schemathesis has them."""
    return [
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        if not re.search(_SINGULAR, path)
        for method in methods
        if method != "parameters"
    ]


def _run_one(command: Sequence[str], name: str, folder: Path, most_s: float) -> bool:
    """Run one route and say what came of it; False: it has failed, and what was found is shown."""
    begun_s = time.monotonic()
    log = folder / "route.log"
    with log.open("wb") as out:
        route = [*command, "--include-name", name]
        running = subprocess.Popen(
            route, cwd=folder, env=_environment(), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            running.wait(most_s)
            is_in_time = True
        except subprocess.TimeoutExpired:
            is_in_time = False
            running.send_signal(signal.SIGINT)
            try:
                running.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
    outcome = judge(log.read_text(errors="replace"), running.returncode, is_in_time=is_in_time)
    print(f"{name}: {outcome.told}, {time.monotonic() - begun_s:.0f} s", flush=True)
    if outcome.shown:
        print(outcome.shown, flush=True)
    return outcome.is_good


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one route."""

    is_good: bool
    told: str  #: in its line
    shown: str  #: what Schemathesis said, if it found something


def judge(said: str, code: int, *, is_in_time: bool) -> Outcome:
    """Return what came of a route of which Schemathesis said this.

    Args:
        code: what it exited with.
        is_in_time: whether it ended by itself.
    """
    fuzzed, counts = _FUZZED.search(said), _COUNTS.search(said)
    told = f"{fuzzed[1] if fuzzed else 'unknown how many'} at random, {counts[0] if counts else 'no counts'}"
    is_clean = "FAILURES" not in said
    if not is_in_time:
        return Outcome(False, f"{told}, OUT OF TIME", "" if is_clean else said)
    is_good = is_clean and code == 0 and bool(fuzzed and counts)
    return Outcome(is_good, told, "" if is_good else said)


if __name__ == "__main__":
    main()
