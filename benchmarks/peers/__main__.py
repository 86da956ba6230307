"""Burst and kill: Ringtime beside other schedulers, each installed by its registry's own client.

    python -m benchmarks.peers [--systems NAME...] [--scenarios NAME...] [--waiting N] [--docs]

Results are kept in `.ringtime/peers/results`, one file for each system and scenario, so that a long run can
be made in parts; `--report` makes the table of what is there. What a system needs and this machine lacks
is said, and that system left out. `docs/benchmarks.md` tells the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.peers.judging import Result
from benchmarks.peers.report import picture, put_between, table
from benchmarks.peers.ringtime_systems import Address, OneProcess, Split
from benchmarks.peers.scenarios import SCENARIOS, Sizes, run
from benchmarks.peers.servers import Missing
from benchmarks.peers.systems import PEERS, PROGRAMS, Peer, System
from ringtime_local.errors import LaunchError

_RESULTS = PROGRAMS / "results"
_DOCS = Path("docs")


def _slug(name: str) -> str:
    return "-".join("".join(each if each.isalnum() else " " for each in name.lower()).split())


def _makers(options: argparse.Namespace) -> dict[str, Callable[[], System]]:
    """Return what makes each system, by the name it has on the command line, in the order they are run."""
    makers: dict[str, Callable[[], System]] = {"ringtime": OneProcess, "split": Split}
    if options.goscheduler:
        pids = {name: int(pid) for name, _, pid in (each.partition("=") for each in options.pids)}
        makers["goscheduler"] = partial(Address, options.goscheduler, pids)
    for recipe in PEERS:
        makers[_slug(recipe.name)] = partial(Peer, recipe)
    return makers


def _read(names: Sequence[str]) -> list[Result]:
    """Return what is kept of these systems, in this order."""
    files = [_RESULTS / f"{name}.{scenario}.json" for name in names for scenario in SCENARIOS]
    return [Result.from_json(json.loads(file.read_text())) for file in files if file.is_file()]


def _section(results: Sequence[Result]) -> str:
    others = {each.system: each.version for each in results if each.version != "this checkout"}
    versions = ", ".join(f"{system} {version}" for system, version in others.items())
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False
    )
    made = (
        f"{datetime.now(UTC):%Y-%m-%d}, Ringtime at {commit.stdout.strip() or 'an unknown commit'}; "
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}; {versions}."
    )
    return f"{made}\n\n{table(results)}\n\n![Share of jobs done by the time since they were due](peers.svg)"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--systems", nargs="+", metavar="NAME", help="all, without it; a wrong one tells them"
    )
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--jobs", type=int, default=20_000, help="in a burst")
    parser.add_argument("--per-s", type=int, default=200, help="creates a second of the steady load")
    parser.add_argument("--steady-s", type=int, default=20, help="seconds of it")
    parser.add_argument("--waiting", type=int, default=5_000_000, help="jobs that wait")
    parser.add_argument("--fill-s", type=int, default=300, help="longest time to create them")
    parser.add_argument("--patience-s", type=float, default=90, help="for jobs that do not come")
    parser.add_argument("--goscheduler", metavar="URL", help="http://HOST:PORT/goscheduler of a running one")
    parser.add_argument("--pids", nargs="*", default=[], metavar="NAME=PID", help="its processes")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is kept")
    parser.add_argument("--docs", action="store_true", help="write table and picture into docs/")
    options = parser.parse_args()
    makers = _makers(options)
    names = options.systems or list(makers)
    if unknown := set(names) - set(makers):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    sizes = Sizes(
        jobs=options.jobs,
        per_s=options.per_s,
        steady_s=options.steady_s,
        waiting=options.waiting,
        fill_s=options.fill_s,
        patience_s=options.patience_s,
    )
    if not options.report:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    _RESULTS.mkdir(parents=True, exist_ok=True)
    for name in () if options.report else names:
        began_s = time.monotonic()
        try:
            for result in run(makers[name](), options.scenarios, sizes):
                file = _RESULTS / f"{name}.{result.scenario}.json"
                file.write_text(json.dumps(result.to_json()))
                print(table([result]).splitlines()[-1], flush=True)
        except (Missing, LaunchError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: left out: {error}", flush=True)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
    results = _read(names)
    print(table(results))
    drawing = picture(results)
    (_RESULTS / "peers.svg").write_text(drawing)
    if options.docs:
        page = _DOCS / "benchmarks.md"
        page.write_text(put_between(page.read_text() if page.is_file() else "", _section(results)))
        (_DOCS / "peers.svg").write_text(drawing)


if __name__ == "__main__":
    main()
