"""`python -m benchmarks`: every profile against any servers, in turn, with medians, spread and ratios.

    python -m benchmarks run get cancel create              what is started here: the split deployment
    python -m benchmarks run get --server a=http://127.0.0.1:8080/goscheduler,ingest=4711,cassandra=4712
    python -m benchmarks quick --against ../other-checkout  three minutes: is this change a gain?
    python -m benchmarks serve --cassandra-port 9042        start it and stay, for something else beside it

docs/benchmarks.md says how it measures and what it found.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks import hammer, servers
from benchmarks.profiles import PROFILES, QUICK, QUICK_PROFILES, Bench, NotOffered, Sizes, Step
from benchmarks.table import Result, Sample, render

WARM_SHARE = 0.05  #: of what servers use: those that are warm spend less on compiling


def measure(steps: Sequence[Step], benches: Sequence[Bench], rounds: int) -> Iterator[Result]:
    """Take the servers through every step, in turn in each round; return each when it is done.

    Rounds that do not count come before, until a JVM compiles little of what the step asks of it, or for so
    long as the sizes say.
    """
    for step in steps:
        result = Result(step=step.name, unit=step.unit)
        able = list(benches)
        until_s = time.monotonic() + max((each.sizes.warm_s for each in benches), default=0.0)
        is_warm, number = not step.warms_up, -1
        while not is_warm:
            played = _play_round(step, able, result, number)
            is_warm = all(each.compiling_share <= WARM_SHARE for each in played) or time.monotonic() > until_s
            number -= 1
        for number in range(rounds):
            _play_round(step, able, result, number)
        order = [each.target.name for each in benches if each.target.name in result.samples]
        yield replace(result, samples={name: result.samples[name] for name in order})


def _play_round(step: Step, able: list[Bench], result: Result, number: int) -> list[Sample]:
    """Have those who are able play a round, which counts from number 0 on; return what was seen of it. Who
    cannot do it is able no more."""
    turn = able if number % 2 else able[::-1]  # who comes first changes: what it warms up serves the next
    seen: list[Sample] = []
    for bench in list(turn):
        try:
            if number <= 0:
                step.prepare(bench)
            samples: list[Sample] = []
            step.measure(bench, samples)
        except (NotOffered, RuntimeError, OSError) as error:
            result.reasons[bench.target.name] = str(error)
            able.remove(bench)
            continue
        seen += samples
        if number >= 0:
            result.samples.setdefault(bench.target.name, []).extend(samples)
    return seen


def run(options: argparse.Namespace) -> int:
    """Measure what was asked for; return 1 if a server could not do something."""
    sizes = _sizes(options, QUICK if options.command == "quick" else Sizes())
    names = options.profiles or list(QUICK_PROFILES)
    steps = [step for name in names for step in PROFILES[name][1](sizes)]
    wanted = [servers.parse(each) for each in options.server] or [servers.parse(f"here={servers.SPLIT}")]
    if options.against:
        wanted.append(servers.parse(f"there={servers.SPLIT}:{options.against}"))
    hammer.build()
    began_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringtime-bench-")))
        targets = stack.enter_context(servers.running(wanted, _starting(options), folder))
        sink = stack.enter_context(hammer.running_sink())
        benches = [Bench(each, sink, sizes, folder) for each in targets]
        results = []
        for result in measure(steps, benches, options.rounds):
            results.append(result)
            print(render([result]), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
    print(f"took {time.monotonic() - began_s:.0f} s")
    return int(any(each.reasons for each in results))


def serve(options: argparse.Namespace) -> int:
    """Start the split deployment, say how to name it as a server, and stay until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="ringtime-bench-") as name:
        wanted = [servers.parse(f"ringtime={servers.SPLIT}")]
        try:
            with servers.running(wanted, _starting(options), Path(name)) as (target,):
                pids = "".join(
                    f",{key}={'+'.join(map(str, each))}" for key, each in target.processes.pids.items()
                )
                print(f"--server ringtime={target.base}{pids},topics={target.kafka}", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            pass
    return 0


def _starting(options: argparse.Namespace) -> servers.Starting:
    settings: dict[str, dict[str, object]] = {}
    for each in options.setting:
        key, _, value = each.partition("=")
        group, _, name = key.partition(".")
        settings.setdefault(group, {})[name] = json.loads(value)
    if "register" in getattr(options, "profiles", ()):  # warm-up rounds too: one near the bound costs more
        settings.setdefault("limits", {}).setdefault("max_apps", 100_000)
    return servers.Starting(
        cassandra_port=options.cassandra_port, dispatchers=options.dispatchers, settings=settings
    )


def _sizes(options: argparse.Namespace, base: Sizes) -> Sizes:
    given: dict[str, Any] = {each.name: getattr(options, each.name, None) for each in fields(Sizes)}
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _profile(text: str) -> str:
    """Check a name; `choices` would also refuse that none is given."""
    if text not in PROFILES:
        raise argparse.ArgumentTypeError(f"no such profile: {text}; there are {', '.join(PROFILES)}")
    return text


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each.replace("_", "")) for each in text.split(","))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("profiles", help="list the profiles")
    for name, about in (
        ("run", "measure"),
        ("quick", f"measure a little of {', '.join(QUICK_PROFILES)}, in three minutes"),
        ("serve", "start the split deployment and stay"),
    ):
        command = commands.add_parser(name, help=about, formatter_class=argparse.RawTextHelpFormatter)
        command.add_argument(
            "--cassandra-port", type=int, help="of what is started; goscheduler knows 9042 only"
        )
        command.add_argument("--dispatchers", type=int, default=1, help="of what is started")
        command.add_argument(
            "--setting", action="append", default=[], metavar="GROUP.NAME=JSON", help="of what is started"
        )
        if name == "serve":
            continue
        command.add_argument(
            "profiles", nargs="+" if name == "run" else "*", type=_profile, metavar="PROFILE"
        )
        command.add_argument("--server", action="append", default=[], metavar="NAME=...", help=servers.HELP)
        command.add_argument(
            "--against", type=Path, help="another checkout: the same as --server there=split:PATH"
        )
        command.add_argument("--rounds", type=int, default=3, choices=range(1, 11), metavar="N")
        command.add_argument("--json", type=Path, help="file for every sample")
        hints = get_type_hints(Sizes)
        for each in fields(Sizes):
            kind = _numbers if hints[each.name] not in (int, float) else hints[each.name]
            command.add_argument("--" + each.name.replace("_", "-"), type=kind, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.command == "profiles":
        for name, (about, _) in PROFILES.items():
            print(f"{name:12}{about}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    try:
        return serve(options) if options.command == "serve" else run(options)
    except (hammer.NoGo, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
