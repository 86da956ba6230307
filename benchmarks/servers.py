"""What is measured: servers that run already, by address, or deployments that are started for it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.server import ServerProcess

from benchmarks.processes import Processes
from ringtime_local.cassandra_config import CassandraOptions
from ringtime_local.cluster import Cluster
from ringtime_local.servers import LocalServers

SPLIT, SERVE = "split", "serve"
HELP = f"""\
NAME={SPLIT}: one ingest pod and one dispatcher on Cassandra, etcd and Kafka of this machine;
NAME={SERVE}: `ringtime serve`; with :PATH behind either, of another checkout, which has its .venv;
or what runs already: NAME=http://HOST:PORT/goscheduler[,PROCESS=PID[+PID]]...[,topics=HOST:PORT][,minutes],
where `topics` is the Kafka that its callbacks go to, and `minutes` says that it fires whole minutes, as
goscheduler does"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One server, and the processes whose cost is its cost."""

    name: str
    base: str
    processes: Processes
    kafka: str = ""  #: where its callbacks to topics go; empty: it has none
    fires_minutes: bool = False  #: whole ones, at a moment of its choosing
    owned: Callable[[], int] | None = (
        None  #: how many poller instances have an owner; None: it cannot be asked
    )

    def post(self, path: str, body: Mapping[str, object]) -> int:
        """Return the HTTP status of the answer."""
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A `--server` as it was given."""

    name: str
    what: str  #: SPLIT, SERVE or a URL
    checkout: Path | None = None
    processes: Mapping[str, Sequence[int]]
    kafka: str = ""
    fires_minutes: bool = False


def parse(text: str) -> Wanted:
    """Read one `--server`. Raises ValueError."""
    name, _, rest = text.partition("=")
    what, *options = rest.split(",")
    kind, _, path = what.partition(":")
    is_address = what.startswith("http://")
    if not name or not (is_address or kind in (SPLIT, SERVE)) or (options and not is_address):
        raise ValueError(f"{text}: a server is {HELP}")
    values = dict(each.partition("=")[::2] for each in options)
    fires_minutes = values.pop("minutes", None) is not None
    kafka = values.pop("topics", "")
    return Wanted(
        name=name,
        what=what.rstrip("/") if is_address else kind,
        checkout=Path(path).absolute() if path and not is_address else None,
        processes={key: [int(pid) for pid in pids.split("+")] for key, pids in values.items()},
        kafka=kafka,
        fires_minutes=fires_minutes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """How what is started is set up: as the figures of others were made, so that they compare."""

    heap_mib: int = 2_048
    commitlog_sync: str = "periodic"
    cassandra_port: int | None = None
    dispatchers: int = 1
    settings: Mapping[str, Mapping[str, object]]

    def cassandra(self) -> CassandraOptions:
        return CassandraOptions(
            port=self.cassandra_port,
            heap_mib=self.heap_mib,
            commitlog_sync=self.commitlog_sync,
            settings={"materialized_views_enabled": True},  # goscheduler has two; we have none
        )


@contextmanager
def running(wanted: Sequence[Wanted], starting: Starting, folder: Path) -> Iterator[list[Target]]:
    """Start what is to be started, all of it on one Cassandra, and end it again."""
    with ExitStack() as stack:
        servers: LocalServers | None = None
        if any(each.what == SPLIT for each in wanted):
            servers = stack.enter_context(LocalServers(folder / "servers", cassandra=starting.cassandra()))
        found = []
        for n, each in enumerate(wanted):
            if each.what == SPLIT:
                assert servers is not None
                found.append(stack.enter_context(_split(each, n, starting, servers, folder)))
            elif each.what == SERVE:
                found.append(stack.enter_context(_serve(each, starting, folder)))
            else:
                found.append(
                    Target(
                        name=each.name,
                        base=each.what,
                        processes=Processes(each.processes),
                        kafka=each.kafka,
                        fires_minutes=each.fires_minutes,
                    )
                )
        yield found


@contextmanager
def _split(
    wanted: Wanted, number: int, starting: Starting, servers: LocalServers, folder: Path
) -> Iterator[Target]:
    settings: dict[str, dict[str, object]] = {group: dict(each) for group, each in starting.settings.items()}
    settings.setdefault("cassandra", {})["keyspace"] = f"bench_{number}"
    settings.setdefault("coordination", {})["prefix"] = f"/bench-{number}"
    if wanted.checkout and (wanted.checkout / "shared/ringtime_shared/access").is_dir():
        settings.setdefault("access", {})["keys"] = "off"  # as the cluster does for pods of this checkout
    cluster = Cluster(
        folder / wanted.name,
        ingest=1,
        dispatchers=starting.dispatchers,
        settings=dict(settings),
        servers=servers,
        python=_python(wanted),
    )
    try:
        cluster.start()
        pids = {name.removesuffix("-1"): [pod.process.pid] for name, pod in cluster.pods.items()}
        pids |= {
            each.name: [each.pid] for each in servers.all if not each.is_external and each.name != "etcd"
        }
        yield Target(
            name=wanted.name,
            base=cluster.base,
            processes=Processes(pids),
            kafka=servers.kafka.bootstrap,
            owned=lambda: _owned(cluster),
        )
    finally:
        cluster.stop()


def _python(wanted: Wanted) -> str | None:
    """Return that of another checkout; None: this one's."""
    return str(wanted.checkout / ".venv/bin/python") if wanted.checkout else None


def _owned(cluster: Cluster) -> int:
    total = 0
    for name, pod in cluster.pods.items():
        if name.startswith("dispatcher"):
            with urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/health/ready", timeout=20) as answer:
                total += int(json.loads(answer.read())["owned"])
    return total


@contextmanager
def _serve(wanted: Wanted, starting: Starting, folder: Path) -> Iterator[Target]:
    environment = {
        f"RINGTIME_{group}_{name}".upper(): str(value)
        for group, values in starting.settings.items()
        for name, value in values.items()
    }
    server = ServerProcess(folder / wanted.name, environment=environment)
    server.python = _python(wanted) or server.python
    try:
        server.start()
        yield Target(name=wanted.name, base=server.base, processes=Processes({"serve": [server.pid]}))
    finally:
        if server.is_running():
            server.stop()
        server.close()
