"""The files and the command line of one Kafka broker that is its own controller (KRaft)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringtime_local.addresses import Address
from ringtime_local.certificates import TlsFiles
from ringtime_local.java import heap_and_compiler, is_brief
from ringtime_local.runtimes import Runtime

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """What a run may choose."""

    port: int | None = None  #: for clients; None takes a free one
    advertised: str | None = None  #: host:port that clients are sent to, such as a fault proxy's
    auto_create_topics: bool = False
    tls: TlsFiles | None = None  #: its certificate; clients then need one that the same authority signed
    heap_mib: int = 512
    settings: Mapping[str, object] = field(default_factory=dict)  #: more server properties; win over ours
    java_options: tuple[str, ...] = ()
    format_options: tuple[str, ...] = ()  #: more arguments to the tool that formats, such as `--add-scram X`


@dataclass(frozen=True, slots=True)
class KafkaPorts:
    """The listeners of the broker, all on 127.0.0.1."""

    clients: int
    direct: int  #: advertised as it is, so that probes and topic creation pass by a fault proxy
    controller: int


def properties_text(options: KafkaOptions, ports: KafkaPorts, folder: Path) -> str:
    """Return server.properties."""
    advertised = options.advertised or str(Address(HOST, ports.clients))
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        "listeners": f"CLIENTS://{HOST}:{ports.clients},DIRECT://{HOST}:{ports.direct},"
        f"CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"CLIENTS://{advertised},DIRECT://{HOST}:{ports.direct}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "DIRECT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder / "data"),
        "num.partitions": 1,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,  # 50 by default: 50 folders to make at the first commit
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": str(options.auto_create_topics).lower(),
        # A broker that was killed may register again only when its old session is over: 9 s by default.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 300,
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,  # 128 MiB of heap by default
    }
    if is_brief():
        # A controller without work writes a record that says nothing, twice a second: a third of what an idle
        # broker does.
        settings["metadata.max.idle.interval.ms"] = 0
    if options.tls is not None:
        settings |= _tls_settings(options.tls)
    settings.update(options.settings)
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _tls_settings(tls: TlsFiles) -> Mapping[str, object]:
    """Return what encrypts the listener for clients; that of probes stays as it is."""
    clients = "listener.name.clients.ssl"
    return {
        "listener.security.protocol.map": "CLIENTS:SSL,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"{clients}.client.auth": "required",
        f"{clients}.keystore.type": "PEM",
        f"{clients}.keystore.location": tls.both,
        f"{clients}.truststore.type": "PEM",
        f"{clients}.truststore.location": tls.ca,
    }


def new_cluster_id() -> str:
    """Return what `StorageTool random-uuid` prints, without the second that a JVM takes."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # it would be read as an option
            return text


def format_command(runtime: Runtime, options: KafkaOptions, cluster_id: str, folder: Path) -> tuple[str, ...]:
    """Return the command that formats the data folder; it changes nothing in one that is formatted."""
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(folder / "server.properties"))
    java = (*runtime.argv, "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
    return (*java, *tool, "--ignore-formatted", *options.format_options)


def command_line(runtime: Runtime, options: KafkaOptions, folder: Path) -> tuple[str, ...]:
    """Return the command that runs the broker whose files are in `folder`."""
    log = "-Dorg.slf4j.simpleLogger."
    java = (
        *heap_and_compiler(options.heap_mib),
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"{log}showDateTime=true",
        f"{log}dateTimeFormat=HH:mm:ss.SSS",
        f"{log}showShortLogName=true",
    )
    return (*runtime.argv, *java, *options.java_options, "kafka.Kafka", str(folder / "server.properties"))
