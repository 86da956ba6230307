"""`./run cluster`: the split deployment on this machine, with real servers, in the foreground.

It restarts nothing by itself: what dies stays dead, so that a person can see what the others do. When all
is ready it writes `DIR/pids.json`: names to pids, and `base`, the URL of an ingest pod.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

import click

from ringtime_local.cassandra_config import CassandraOptions
from ringtime_local.certificates import Authority, TlsFiles
from ringtime_local.errors import LaunchError, StartFailed
from ringtime_local.etcd import EtcdOptions
from ringtime_local.kafka_config import KafkaOptions
from ringtime_local.ports import take_ports
from ringtime_local.process import Command, LocalProcess
from ringtime_local.servers import LocalServers
from ringtime_local.tools import last_lines
from ringtime_shared.entry import INTERRUPTED, take_interrupts

_READY_S = 180.0
_STOP_S = 40.0
_ENTRY = "ringtime_shared.entry"  #: begins a module as the installed command does
LOOPBACK = ("127.0.0.0/8", "::1/128")  #: what callbacks of a local cluster may reach besides public addresses


class Pod:
    """One process of ours, with its own port."""

    def __init__(
        self,
        name: str,
        module: str,
        port: int,
        config: Path,
        flags: tuple[str, ...],
        python: str = sys.executable,
        tls: TlsFiles | None = None,
    ) -> None:
        folder = config.parent
        self.name = name
        self.port = port
        self.root = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        self._tls = tls
        self.log = folder / f"{name}.log"
        argv = (python, "-m", _ENTRY, module, "--port", str(port), "--config", str(config), *flags)
        self.process = LocalProcess(Command(argv), folder=folder, log=self.log)

    def wait_ready(self, until_s: float) -> None:
        """Return once `/health/ready` says so. Raises StartFailed with the end of the log."""
        url = f"{self.root}/health/ready"
        context = None if self._tls is None else self._tls.client_context()
        while time.monotonic() < until_s and self.process.is_running():
            try:
                with urllib.request.urlopen(url, timeout=5, context=context):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise StartFailed(f"{self.name} did not get ready:\n{last_lines(self.log.read_text())}")


class Cluster:
    """Servers and pods; `start`, then `stop` whatever came of it.

    `pod_settings` holds, by a pod's name, settings that differ from the others'; set them before it starts.
    `servers`, if given, run already and outlive the cluster; without, it starts and ends its own.
    `python` runs the pods: that of another checkout's environment, to run its pods; `pod_pythons` names, by a
    pod's name, those that another runs from its next start.
    `tls`: everything is encrypted, and the servers want a certificate of each other, of an authority that is
    made in `certificates`; of the API's clients none is wanted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ingest: int,
        dispatchers: int,
        settings: dict[str, object],
        servers: LocalServers | None = None,
        python: str | None = None,
        tls: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tls = Authority(self.folder / "certificates").issue("ringtime", "127.0.0.1") if tls else None
        self.servers = servers or LocalServers(
            self.folder / "servers",
            cassandra=CassandraOptions(tls=self.tls),
            kafka=KafkaOptions(tls=self.tls),
            etcd=EtcdOptions(tls=self.tls),
            own=tls,  # those of the environment know nothing of these certificates
        )
        self._starts_servers = servers is None
        self.pods: dict[str, Pod] = {}
        self.pod_settings: dict[str, dict[str, object]] = {}
        self.pod_pythons: dict[str, str] = {}
        self._ingest = ingest
        self._dispatchers = dispatchers
        self._settings = settings
        self._python = python or sys.executable
        self._config = self.folder / "ringtime.json"

    @property
    def base(self) -> str:
        """URL of the first ingest pod."""
        return f"{self.pods['ingest-1'].root}/goscheduler"

    @property
    def bases(self) -> tuple[str, ...]:
        """URLs of all ingest pods."""
        pods = [pod for name, pod in self.pods.items() if name.startswith("ingest")]
        return tuple(f"{pod.root}/goscheduler" for pod in pods)

    def start(self) -> None:
        """Start everything. Raises LaunchError; what was started is to be stopped all the same."""
        if self._starts_servers:
            self.servers.start()
        self._write_settings()
        self.migrate(self._python)
        for number in range(1, self._ingest + 1):
            self.start_pod(f"ingest-{number}")
        for number in range(1, self._dispatchers + 1):
            self.start_pod(f"dispatcher-{number}")
        until_s = time.monotonic() + _READY_S
        for pod in self.pods.values():
            pod.wait_ready(until_s)
        self.write_pids()

    def start_pod(self, name: str) -> Pod:
        """Start one pod by name, `ingest-N` or `dispatcher-N`; one of that name takes its port again."""
        role = name.partition("-")[0]
        port = self.pods[name].port if name in self.pods else take_ports(1)[0]
        flags = ("--name", name) if role == "dispatcher" else ()
        config = self._write_settings(name) if name in self.pod_settings else self._config
        python = self.pod_pythons.get(name, self._python)
        self.pods[name] = Pod(name, f"ringtime_{role}.main", port, config, flags, python, self.tls)
        return self.pods[name]

    def stop(self) -> None:
        """End the pods, dispatchers first, then the servers that were started for them."""
        for role in ("dispatcher", "ingest"):
            pods = [pod for name, pod in self.pods.items() if name.startswith(role)]
            for pod in pods:
                pod.process.signal(signal.SIGCONT)
                pod.process.signal(signal.SIGTERM)
            for pod in pods:
                pod.process.stop(_STOP_S)
        if self._starts_servers:
            self.servers.stop()
        (self.folder / "pids.json").unlink(missing_ok=True)

    def write_pids(self) -> None:
        """Write `pids.json` whole or not at all."""
        pids: dict[str, object] = {name: pod.process.pid for name, pod in self.pods.items()}
        pids |= {server.name: server.pid for server in self.servers.all if server.is_running}
        draft = self.folder / "pids.json.part"
        draft.write_text(json.dumps(pids | {"base": self.base}, indent=2) + "\n")
        draft.replace(self.folder / "pids.json")

    def _write_settings(self, pod: str | None = None) -> Path:
        """Write the settings of all pods, or of this one; return the file."""
        cassandra = self.servers.cassandra
        settings: dict[str, object] = {
            "cassandra": {"contact_points": list(cassandra.contact_points), "port": cassandra.port},
            "coordination": {"endpoints": [self.servers.etcd.endpoint]},
            "kafka": {"bootstrap": self.servers.kafka.bootstrap.split(",")},
            "egress": {"allow": list(LOOPBACK), "ports": ["1-65535"]},  # receivers are on this machine
        }
        if self._python == sys.executable:  # another checkout may not know the setting
            settings["access"] = {"keys": "off"}  # pods listen on a loopback address
        if self.tls is not None:
            own = {"cert_file": str(self.tls.cert), "key_file": str(self.tls.key)}
            to_servers = own | {"ca_file": str(self.tls.ca)}
            for group in ("cassandra", "coordination", "kafka"):
                settings[group] = _table(settings[group]) | to_servers
            settings["kafka"] = _table(settings["kafka"]) | {"security": "SSL"}
            settings["server"] = own
        for layer in (self._settings, self.pod_settings[pod] if pod else {}):
            for group, values in layer.items():
                settings[group] = {**_table(settings.get(group)), **_table(values)}
        file = self.folder / f"{pod or 'ringtime'}.json"
        file.write_text(json.dumps(settings, indent=2) + "\n")
        return file

    def migrate(self, python: str = sys.executable) -> None:
        """Bring the schema up to what this interpreter's Ringtime knows. Raises StartFailed."""
        log = self.folder / "migrate.log"
        argv = (
            python,
            "-m",
            _ENTRY,
            "ringtime.main",
            "migrate",
            "--config",
            str(self._config),
        )
        process = LocalProcess(Command(argv), folder=self.folder, log=log)
        if process.wait(_READY_S) != 0:
            raise StartFailed(f"migrate failed:\n{last_lines(log.read_text())}")


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


@click.command()
@click.option("--ingest", default=2, show_default=True, type=click.IntRange(1, 16), help="Ingest pods.")
@click.option(
    "--dispatchers", default=3, show_default=True, type=click.IntRange(1, 16), help="Dispatcher pods."
)
@click.option("--tls", is_flag=True, help="Encrypt everything, with certificates made for it.")
@click.option(
    "--data",
    "folder",
    default=Path(".ringtime") / "cluster",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data, logs and pids.json are kept.",
)
def main(ingest: int, dispatchers: int, tls: bool, folder: Path) -> None:
    """Run Cassandra, Kafka, etcd, ingest pods and dispatchers here, until Ctrl-C."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        stop.set()

    def on_early_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_early_signal)
    take_interrupts()
    cluster = Cluster(folder, ingest=ingest, dispatchers=dispatchers, settings={}, tls=tls)
    try:
        click.echo("starting Cassandra, Kafka and etcd, then the pods; the first time takes longest")
        cluster.start()
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        _show(cluster)
        _watch(cluster, stop)
        click.echo("stopping")
    except LaunchError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopping before everything was ready")
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        cluster.stop()


def _show(cluster: Cluster) -> None:
    servers = cluster.servers
    points = ",".join(servers.cassandra.contact_points)
    click.echo(f"cassandra    {points}:{servers.cassandra.port}")
    click.echo(f"kafka        {servers.kafka.bootstrap}")
    click.echo(f"etcd         {servers.etcd.endpoint}")
    for name, pod in cluster.pods.items():
        path = "/goscheduler" if name.startswith("ingest") else "/health/ready"
        click.echo(f"{name:<12} {pod.root}{path}")
    click.echo(f"callbacks may reach {', '.join(LOOPBACK)} on any port: egress.allow and egress.ports")
    click.echo(f"logs and pids in {cluster.folder}")
    click.echo("\nTry:")
    body = '{"appId": "test", "partitions": 5, "active": true}'
    trusting = "" if cluster.tls is None else f" --cacert {cluster.tls.ca}"
    click.echo(f"curl{trusting} {cluster.base}/apps -H 'Content-Type: application/json' -d '{body}'")
    click.echo("\nCtrl-C stops everything.")


def _watch(cluster: Cluster, stop: threading.Event) -> None:
    """Tell of each pod that ends, until told to stop."""
    alive = set(cluster.pods)
    while not stop.wait(0.5):
        for name in [each for each in alive if not cluster.pods[each].process.is_running()]:
            alive.discard(name)
            click.echo(f"{name} has ended; see {cluster.pods[name].log}")


if __name__ == "__main__":
    main()
