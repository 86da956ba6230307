"""All servers of one run, started side by side."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self, TypeVar

from ringtime_local.addresses import addresses_from_environment
from ringtime_local.cassandra import CassandraServer
from ringtime_local.cassandra_config import CassandraOptions
from ringtime_local.errors import Aborted, LaunchError
from ringtime_local.etcd import EtcdOptions, EtcdServer
from ringtime_local.kafka import KafkaServer
from ringtime_local.kafka_config import KafkaOptions
from ringtime_local.process import LocalProcess
from ringtime_local.server import START_TIMEOUT_S

CASSANDRA_VARIABLE = "RINGTIME_TEST_CASSANDRA"
KAFKA_VARIABLE = "RINGTIME_TEST_KAFKA"
ETCD_VARIABLE = "RINGTIME_TEST_ETCD"

Server = CassandraServer | KafkaServer | EtcdServer
Asked = TypeVar("Asked", bound=Server)


class LocalServers:
    """The servers that were asked for: `True` for one with default options, or the options.

    `folder` keeps data and logs; without one, a temporary folder is used, and removed when all went well.
    With `own`, they are started here whatever the environment names: for runs that kill or freeze them.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        cassandra: bool | CassandraOptions = True,
        kafka: bool | KafkaOptions = True,
        etcd: bool | EtcdOptions = True,
        own: bool = False,
    ) -> None:
        self._is_temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="ringtime-")) if folder is None else folder.absolute()
        self._abort = Event()
        self._cassandra = self._kafka = self._etcd = None
        if cassandra:
            self._cassandra = CassandraServer(
                self.folder / "cassandra",
                cassandra if isinstance(cassandra, CassandraOptions) else None,
                external=[] if own else addresses_from_environment(CASSANDRA_VARIABLE),
                abort=self._abort,
            )
        if kafka:
            self._kafka = KafkaServer(
                self.folder / "kafka",
                kafka if isinstance(kafka, KafkaOptions) else None,
                external=[] if own else addresses_from_environment(KAFKA_VARIABLE),
                abort=self._abort,
            )
        if etcd:
            self._etcd = EtcdServer(
                self.folder / "etcd",
                etcd if isinstance(etcd, EtcdOptions) else None,
                external=[] if own else addresses_from_environment(ETCD_VARIABLE),
                abort=self._abort,
            )

    @property
    def cassandra(self) -> CassandraServer:
        return _asked_for(self._cassandra, "cassandra")

    @property
    def kafka(self) -> KafkaServer:
        return _asked_for(self._kafka, "kafka")

    @property
    def etcd(self) -> EtcdServer:
        return _asked_for(self._etcd, "etcd")

    @property
    def all(self) -> list[Server]:
        """The servers that were asked for."""
        return [server for server in (self._cassandra, self._kafka, self._etcd) if server is not None]

    def start(self, timeout_s: float = START_TIMEOUT_S, *, but: Collection[str] = ()) -> None:
        """Start all, or all `but` some by name, side by side; when one fails, end all and raise its error."""
        with ThreadPoolExecutor(3, thread_name_prefix="start") as pool:
            starts = [pool.submit(server.start, timeout_s) for server in self.all if server.name not in but]
            try:
                wait(starts, return_when=FIRST_EXCEPTION)
                if any(start.done() and start.exception() for start in starts):
                    self._abort.set()
                    raise _first_cause(starts)
            except BaseException:  # Ctrl-C too
                self._abort.set()
                wait(starts)
                self.stop()
                raise

    def stop(self) -> None:
        """End all servers that we started, side by side. Safe to call twice and before start."""
        if self.all:
            with ThreadPoolExecutor(3, thread_name_prefix="stop") as pool:
                for done in [pool.submit(server.stop) for server in self.all]:
                    done.result()

    def detach(self) -> None:
        """Let the servers outlive this process."""
        for server in self.all:
            for part in server.servers:
                if isinstance(part.process, LocalProcess):
                    part.process.detach()

    def environment(self) -> dict[str, str]:
        """The variables with which another process uses these very servers."""
        variables = {"cassandra": CASSANDRA_VARIABLE, "kafka": KAFKA_VARIABLE, "etcd": ETCD_VARIABLE}
        return {variables[server.name]: server.addresses for server in self.all}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._is_temporary and error is None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _first_cause(starts: list[Future[None]]) -> BaseException:
    """Return why a start failed; the others were only given up because of it."""
    wait(starts)
    errors = [error for error in (start.exception() for start in starts) if error is not None]
    return next((error for error in errors if not isinstance(error, Aborted)), errors[0])


def _asked_for(server: Asked | None, name: str) -> Asked:
    if server is None:
        raise LaunchError(f"this run was made without {name}")
    return server
