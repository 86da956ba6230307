"""What every command is given: the options before it, and the deployment they name. The composition root."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from ringtime_shared.clock import Clock, SystemClock
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.coordination.protocol import OperatorCoordination
from ringtime_shared.encryption.keyring import KeyRing, ring_of
from ringtime_shared.encryption.store import encrypted_store
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.stores.protocol import Store

MAX_OPERATOR = 128  #: characters of an operator's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An open deployment."""

    store: Store
    coordination: OperatorCoordination | None  #: None: one process on a folder
    settings: Settings
    operator: str  #: goes into the audit log
    clock: Clock
    server: str | None = None  #: one process: the node that runs on the folder; None: nobody does
    ring: KeyRing | None = None  #: what secrets are stored under; None: this command has not the keys
    driver: Store | None = None  #: the store without a ring; None: `store` has none
    host: str = ""  #: where this runs, for the audit log, as are these:
    reason: str = ""  #: why, in the operator's words
    request_id: str = ""  #: one for all that a command changes, here and through the API

    @property
    def kept(self) -> Store:
        """The store with secrets as they are stored. What `store` reads is decrypted, what it writes
        encrypted."""
        return self.driver or self.store


@dataclass(slots=True, kw_only=True)
class Context:
    """The options that stand before the command."""

    is_json: bool = False
    is_plain: bool = False  #: no colour
    data: Path | None = None  #: folder of a one-process deployment; None: as the settings say
    config: Path | None = None
    operator: str = ""
    key_file: Path | None = None  #: with the API key; None: as the environment says
    ca_file: Path | None = None  #: that servers are checked with; None: as the environment says
    reason: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def load_settings(self) -> Settings:
        """Raises SettingsError."""
        data = None if self.data is None else str(self.data)
        return load_settings(self.config, self.environ, flags={"embedded.data": data})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Deployment]:
        """Open what the settings name: the folder if they name one, else Cassandra; etcd at its first use.

        Raises SettingsError, and StartupError when the store is away or its schema is not ours. Nothing is
        created, and no schema is changed.
        """
        settings = self.load_settings()
        clock = WatchedClock(SystemClock(), settings.clock)
        async with AsyncExitStack() as stack:
            driver, server = await _open_store(settings, clock)
            stack.push_async_callback(driver.close)
            await clock.look(driver.fetch_times)  # what counts from now is refused if it is in doubt
            ring = ring_of(settings.secrets, settings.embedded.data)
            coordination = open_coordination(settings)
            if coordination is not None:
                stack.push_async_callback(coordination.close)
            yield Deployment(
                store=encrypted_store(driver, ring),
                driver=driver,
                ring=ring,
                coordination=coordination,
                settings=settings,
                operator=self.operator,
                clock=clock,
                server=server,
                host=socket.gethostname(),
                reason=self.reason,
                request_id=str(uuid4()),
            )


def system_operator() -> str:
    """Return who runs this process, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in many containers
        return f"uid-{os.getuid()}"


# The drivers are imported where they are needed: together they take longer than `ringctl --help` should.


async def _open_store(settings: Settings, clock: Clock) -> tuple[Store, str | None]:
    if not settings.embedded.data:
        from ringtime_shared.stores.cassandra import CassandraStore

        return await CassandraStore.connect(
            settings.cassandra, now_ms=clock.now_ms, boot_ms=clock.boot_ms
        ), None
    from ringtime_shared.stores.sqlite import SqliteStore, find_server

    folder = Path(settings.embedded.data)
    try:
        store = await SqliteStore.open(folder, exclusive=False, create=False, now_ms=clock.now_ms)
    except OSError as error:
        raise StartupError(f"cannot open {folder}: {error.strerror}") from error
    pid = find_server(folder)
    name = settings.node.name or f"embedded-{pid}"
    return store, None if pid is None else name


def open_coordination(settings: Settings) -> OperatorCoordination | None:
    """Return the way to etcd, which connects at its first call; None: one process has none."""
    if settings.embedded.data:
        return None
    from ringtime_shared.coordination.etcd import EtcdOperator

    return EtcdOperator(settings.coordination)
