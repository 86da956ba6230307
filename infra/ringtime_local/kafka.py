"""Kafka: one broker in KRaft mode."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event

from ringtime_local.addresses import Address
from ringtime_local.archives import WRITE_S, archive_options
from ringtime_local.cache import cached
from ringtime_local.errors import NotReady
from ringtime_local.kafka_admin import ask_brokers, create_topic
from ringtime_local.kafka_config import (
    HOST,
    KafkaOptions,
    KafkaPorts,
    command_line,
    format_command,
    new_cluster_id,
    properties_text,
)
from ringtime_local.ports import take_ports
from ringtime_local.process import Command
from ringtime_local.runtimes import Runtime, jar_runtime
from ringtime_local.server import LocalServer
from ringtime_local.tools import run_tool

IN_IMAGE = Runtime(("java", "-cp", "/opt/kafka/libs/*"), image="apache/kafka:4.1.1")
FORMAT_TIMEOUT_S = 60.0


class KafkaServer(LocalServer):
    """One broker that is its own controller."""

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        options: KafkaOptions | None = None,
        *,
        external: list[Address] | None = None,
        abort: Event | None = None,
    ) -> None:
        super().__init__(folder, external=bool(external), abort=abort)
        self.options = options or KafkaOptions()
        if external:
            self.bootstrap = ",".join(map(str, external))
            self.direct = self.bootstrap
            return
        direct, controller = take_ports(2)
        self._ports = KafkaPorts(self.options.port or take_ports(1)[0], direct, controller)
        self.bootstrap = str(Address(HOST, self._ports.clients))  #: where the broker listens for clients
        self.direct = str(Address(HOST, direct))  #: as above, but never led to `options.advertised`

    @property
    def addresses(self) -> str:
        """`host:port`: what RINGTIME_TEST_KAFKA takes."""
        return self.bootstrap

    @property
    def servers(self) -> list[LocalServer]:
        return [self]

    def probe(self) -> None:
        """Have the cluster's metadata answered, with a broker in it that takes requests."""
        if not ask_brokers(self.direct):
            raise NotReady("the metadata names no broker yet")

    def create_topic(
        self, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic with one replica. Raises LaunchError when it cannot, or when it exists."""
        create_topic(self.direct, name, partitions=partitions, config=config or {})

    def _prepare(self) -> Command:
        runtime = jar_runtime("kafka", IN_IMAGE, abort=self._abort)
        (self.folder / "tmp").mkdir(exist_ok=True)
        text = properties_text(self.options, self._ports, self.folder)
        (self.folder / "server.properties").write_text(text, encoding="utf-8")
        # Before the archive, for which another broker is started: only one entry is filled at a time.
        formatted = None if runtime.image is not None else self._formatted(runtime)
        given = self.options.java_options
        kept = archive_options(self.name, runtime, given, self._rehearse, self._abort)
        run = command_line(runtime, replace(self.options, java_options=(*given, *kept)), self.folder)
        if (self.folder / "data" / "meta.properties").exists():
            return Command(run, image=runtime.image)
        if formatted is None:
            prepare = format_command(runtime, self.options, new_cluster_id(), self.folder)
            both = ("sh", "-c", '"$@" && exec ' + shlex.join(run), "sh", *prepare)
            return Command(both, image=runtime.image)
        if self.options.format_options or self.options.settings:
            self._format(runtime, self.folder)
        else:
            copy_formatted(formatted / "data", self.folder / "data")
        return Command(run)

    def _formatted(self, runtime: Runtime) -> Path:
        """Return a folder whose `data` was formatted for a broker of which nothing special is asked: Java
        takes a second for it."""
        told = (runtime.argv, properties_text(KafkaOptions(), KafkaPorts(1, 2, 3), Path("/")))
        entry = f"kafka-formatted-{sha256(repr(told).encode()).hexdigest()[:12]}"
        return cached(entry, lambda draft: self._format(runtime, draft), self._abort)

    def _format(self, runtime: Runtime, folder: Path) -> None:
        text = properties_text(self.options, self._ports, folder)
        (folder / "server.properties").write_text(text, encoding="utf-8")
        tool = format_command(runtime, self.options, new_cluster_id(), folder)
        run_tool(tool, abort=self._abort, timeout_s=FORMAT_TIMEOUT_S, folder=folder)

    def _rehearse(self, folder: Path, java_options: tuple[str, ...]) -> None:
        server = KafkaServer(folder, KafkaOptions(java_options=java_options), abort=self._abort)
        server.start()
        server.stop(WRITE_S)


def copy_formatted(formatted: Path, data: Path) -> None:
    """Copy a formatted data folder. All that tells one from another is the id of its cluster."""
    shutil.copytree(formatted, data)
    meta = data / "meta.properties"
    lines = [line for line in meta.read_text().splitlines() if not line.startswith("cluster.id=")]
    meta.write_text("\n".join([*lines, f"cluster.id={new_cluster_id()}", ""]))
