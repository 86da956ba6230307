"""One run: a receiver, Locust, and the account of both while they work; then the verdict and the report.

Everything started here is on loopback and is ended here, also when this process is killed (`ringtime_local`'s
guard). A run ends by itself: when the plan is over and the last callback came, or is late beyond its bound.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from ringtime_client.credentials import find_key, with_key
from ringtime_load import report
from ringtime_load.account import Account, Check, Requests, Tally, judge
from ringtime_load.ledgers import Follower
from ringtime_load.plan import MAX_SECONDS, Plan
from ringtime_local.errors import StartFailed
from ringtime_local.kafka_admin import create_topic
from ringtime_local.ports import take_ports
from ringtime_local.process import Command, LocalProcess
from ringtime_local.tools import last_lines

_LOOK_S = 0.25  #: between two looks into the ledgers
_START_S = 30.0
_STOP_S = 20.0
_TOPIC_PARTITIONS = 6


def run(
    plan: Plan,
    folder: Path,
    *,
    kafka: str = "",
    workers: int = 0,
    web_port: int | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = print,
    tell_every_s: float = 5.0,
) -> list[Check]:
    """Play a plan against `plan.hosts` and return its verdict; `folder` keeps what led to it.

    Args:
        folder: for this run alone; made if missing.
        kafka: `host:port` of a broker, for plans with Kafka callbacks.
        workers: processes of Locust beside its master; 0: one process does it all.
        web_port: where Locust's pages are; the run then lasts until `stop`, or an hour. None: no pages.
    Raises: StartFailed, urllib.error.URLError if an app cannot be registered.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stop = stop or threading.Event()
    name = f"load{uuid4().hex[:8]}"
    plan = msgspec.structs.replace(plan, run=name)
    if plan.callback == "kafka":
        plan = msgspec.structs.replace(plan, topic=f"{plan.app(0)}.callbacks")
        stamp = {"message.timestamp.type": "LogAppendTime"}
        create_topic(kafka, plan.topic, partitions=_TOPIC_PARTITIONS, config=stamp)
    tell(f"registering {plan.tenants:,} apps")
    register_apps(plan)
    with receiving(folder, *((kafka, plan.topic) if plan.topic else ())) as port:
        plan = msgspec.structs.replace(plan, callback_url=f"http://127.0.0.1:{port}/callback")
        watch = _Watch(folder, plan, tell, tell_every_s)
        with generating(plan, folder, workers=workers, web_port=web_port) as locust:
            if web_port is not None:
                tell(
                    f"Locust's pages: http://127.0.0.1:{web_port} - Ctrl-C ends the run and gives the verdict"
                )
            until_s = time.monotonic() + (MAX_SECONDS if web_port is not None else plan.total_s + _START_S)
            while locust.is_running() and not stop.is_set() and time.monotonic() < until_s:
                watch.look()
                stop.wait(_LOOK_S)
            if web_port is not None and locust.is_running():
                save_pages(folder, web_port)
        tally = watch.to_the_end()
    requests = read_requests(folder)
    checks = judge(tally, requests, plan.criteria, asked=plan.creates)
    report.write(folder, plan, tally, checks)
    return checks


class _Watch:
    """Follows the ledgers and says how things stand."""

    def __init__(self, folder: Path, plan: Plan, tell: Callable[[str], None], every_s: float) -> None:
        self._follower = Follower(folder)
        self._account = Account(plan.criteria.late_ms)
        self._late_s = plan.criteria.late_ms / 1000
        self._tell, self._every_s = tell, every_s
        self._next_s = time.monotonic() + every_s

    def look(self) -> None:
        for words in self._follower.lines():
            self._account.take(words)
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            self._tell(str(self._account.tally(time.time() * 1000)))

    def to_the_end(self) -> Tally:
        """Wait until the last fire time is over and all came, or what did not come is later than allowed."""
        while True:
            self.look()
            now_s = time.time()
            tally = self._account.tally(now_s * 1000)
            last_s = max(tally.seconds, default=0) + 2  # its second, and one more for what should not come
            if now_s > last_s and (not tally.waiting or now_s > last_s + self._late_s):
                return self._account.tally(now_s * 1000, is_over=True)
            time.sleep(_LOOK_S)


def register_apps(plan: Plan) -> None:
    """Register every tenant, eight at a time, with the API key of the environment if there is one."""
    headers = with_key(plan.hosts[0], {"Content-Type": "application/json"}, find_key(None, None))

    def register(number: int) -> None:
        body = {"appId": plan.app(number), "partitions": plan.partitions, "active": True}
        request = urllib.request.Request(f"{plan.hosts[0]}/apps", json.dumps(body).encode(), dict(headers))
        with urllib.request.urlopen(request, timeout=30):
            pass

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(register, range(plan.tenants)):
            pass


@contextmanager
def receiving(folder: Path, *kafka: str) -> Iterator[int]:
    """Run a receiver; yield its port once it takes callbacks."""
    log = folder / "receiver.log"
    argv = (sys.executable, "-m", "ringtime_load.receiver", str(folder), *kafka)
    process = LocalProcess(Command(argv), folder=folder, log=log)
    try:
        until_s = time.monotonic() + _START_S
        while not (told := log.read_text()).endswith("\n") or not told.split()[-1].isdecimal():
            if not process.is_running() or time.monotonic() > until_s:
                raise StartFailed(f"the receiver did not start:\n{last_lines(told)}")
            time.sleep(0.05)
        yield int(told.split()[-1])
    finally:
        process.stop(_STOP_S)


@contextmanager
def generating(plan: Plan, folder: Path, *, workers: int, web_port: int | None) -> Iterator[LocalProcess]:
    """Run Locust on a plan; yield the process that ends with the plan. It is asked to end on the way out."""
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    (folder / "requests.json").unlink(missing_ok=True)

    def start(name: str, *flags: str) -> LocalProcess:
        argv = ("env", f"RINGTIME_LOAD={folder}", sys.executable, "-m", "locust")
        file = str(Path(__file__).with_name("locustfile.py"))
        options = ("--locustfile", file, "--stop-timeout", "5", *flags)
        return LocalProcess(Command((*argv, *options)), folder=folder, log=folder / f"{name}.log")

    flags = ["--html", str(folder / "locust.html"), "--exit-code-on-error", "0"]
    if web_port is None:
        flags += ["--headless", "--only-summary"]
    else:
        flags += ["--web-host", "127.0.0.1", "--web-port", str(web_port), "--autostart"]
    processes: list[LocalProcess] = []
    port = ""
    try:
        if workers:
            port = str(take_ports(1)[0])
            flags += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
            flags += ["--expect-workers", str(workers), "--expect-workers-max-wait", f"{_START_S:.0f}"]
        processes.append(start("locust", *flags))
        processes.extend(
            start(f"worker-{number}", "--worker", "--master-port", port) for number in range(1, workers + 1)
        )
        yield processes[0]
    finally:
        for process in processes:
            process.signal(signal.SIGTERM)
            process.stop(_STOP_S)


def save_pages(folder: Path, web_port: int) -> None:
    """Write Locust's report, which it writes by itself only without pages; not if they are not there yet."""
    with (
        suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{web_port}/stats/report", timeout=30) as answer,
    ):
        (folder / "locust.html").write_bytes(answer.read())


def read_requests(folder: Path) -> list[Requests]:
    """Return what Locust measured. Raises StartFailed with the end of its log if it measured nothing."""
    try:
        rows = json.loads((folder / "requests.json").read_text())
    except FileNotFoundError:
        told = last_lines((folder / "locust.log").read_text())
        raise StartFailed(f"Locust did not end well:\n{told}") from None
    return [Requests(**row) for row in rows]
