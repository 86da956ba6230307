"""etcd: one member."""

from __future__ import annotations

import http.client
import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ringtime_local.addresses import Address
from ringtime_local.certificates import TlsFiles
from ringtime_local.errors import NotReady
from ringtime_local.etcd_program import find_etcd
from ringtime_local.ports import take_ports
from ringtime_local.process import Command
from ringtime_local.runtimes import Runtime, this_machine_else
from ringtime_local.server import LocalServer

HOST = "127.0.0.1"
PROBE_TIMEOUT_S = 5.0

# No image of etcd's own can be named without the host name of a registry. So: Debian's image with its
# package, which takes root to install; etcd itself then runs as this user.
INSTALL_AND_RUN = (
    "command -v etcd >/dev/null || { apt-get update -qq && apt-get install -qq -y etcd-server; }; "
    f'exec setpriv --reuid={os.getuid()} --regid={os.getgid()} --clear-groups etcd "$@"'
)
IN_IMAGE = Runtime(("sh", "-c", INSTALL_AND_RUN, "etcd"), image="debian:bookworm-slim")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOptions:
    """What a run may choose."""

    port: int | None = None  #: for clients; None takes a free one
    flags: tuple[str, ...] = ()  #: more of the command line, such as --quota-backend-bytes=...
    tls: TlsFiles | None = None  #: its certificate; clients then need one that the same authority signed


class EtcdServer(LocalServer):
    """One member that is its own cluster."""

    name = "etcd"

    def __init__(
        self,
        folder: Path,
        options: EtcdOptions | None = None,
        *,
        external: list[Address] | None = None,
        abort: Event | None = None,
    ) -> None:
        super().__init__(folder, external=bool(external), abort=abort)
        self.options = options or EtcdOptions()
        if external:
            self.address = external[0]
            return
        self.address = Address(HOST, self.options.port or take_ports(1)[0])
        self._peer_port = take_ports(1)[0]

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return str(self.address)

    @property
    def addresses(self) -> str:
        """`host:port`: what RINGTIME_TEST_ETCD takes."""
        return self.endpoint

    @property
    def servers(self) -> list[LocalServer]:
        return [self]

    def probe(self) -> None:
        """Ask /health, which reads a key through the quorum."""
        connection = self._connect()
        try:
            connection.request("GET", "/health")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotReady(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if answer.get("health") not in ("true", True):
            raise NotReady(f"health is {answer}")

    def _connect(self) -> http.client.HTTPConnection:
        tls = self.options.tls
        if tls is None:
            return http.client.HTTPConnection(*self.address, timeout=PROBE_TIMEOUT_S)
        return http.client.HTTPSConnection(
            *self.address, timeout=PROBE_TIMEOUT_S, context=tls.client_context()
        )

    def _prepare(self) -> Command:
        runtime = this_machine_else(lambda: find_etcd(abort=self._abort), IN_IMAGE)
        tls = self.options.tls
        clients = f"{'http' if tls is None else 'https'}://{self.address}"
        peers = f"http://{HOST}:{self._peer_port}"
        flags = (
            f"--data-dir={self.folder / 'data'}",
            "--name=local",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=local={peers}",
            "--logger=zap",
            *(() if tls is None else _tls_flags(tls)),
        )
        return Command((*runtime.argv, *flags, *self.options.flags), image=runtime.image, as_root=True)


def _tls_flags(tls: TlsFiles) -> tuple[str, ...]:
    certificate = f"--cert-file={tls.cert}", f"--key-file={tls.key}"
    return *certificate, f"--trusted-ca-file={tls.ca}", "--client-cert-auth"
