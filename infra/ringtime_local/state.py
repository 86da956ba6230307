"""`servers.json`: which detached servers run, kept between `ringtime-dev up` and `down`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ringtime_local.containers import remove_container
from ringtime_local.errors import LaunchError
from ringtime_local.pids import ProcessId
from ringtime_local.process import LocalProcess
from ringtime_local.server import STOP_GRACE_S
from ringtime_local.servers import LocalServers, Server

FILE = "servers.json"
NAMES = ("cassandra", "kafka", "etcd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server as it was started."""

    name: str
    addresses: str  #: host:port, separated by commas
    processes: list[ProcessId] = field(
        default_factory=list
    )  #: none for one that is external or in a container
    compose_file: str | None = None

    @property
    def is_external(self) -> bool:
        return not self.processes and self.compose_file is None

    def is_running(self) -> bool:
        """Say whether the processes that were started are still there."""
        return bool(self.processes) and all(process.is_running() for process in self.processes)

    def end(self) -> None:
        """End what was started, and nothing else: a pid that now belongs to another process is left alone."""
        for process in self.processes:
            process.end(STOP_GRACE_S)
        if self.compose_file is not None:
            remove_container(Path(self.compose_file), STOP_GRACE_S)


def entry_of(server: Server) -> Entry:
    """Describe a started server."""
    processes = []
    compose_file = None
    for part in server.servers:
        if isinstance(part.process, LocalProcess):
            processes.append(part.process.id)
        elif part.process is not None:
            compose_file = str(part.folder / "compose.json")
    return Entry(name=server.name, addresses=server.addresses, processes=processes, compose_file=compose_file)


def save(folder: Path, servers: LocalServers) -> list[Entry]:
    """Write down what runs."""
    entries = [entry_of(server) for server in servers.all]
    draft = folder / f"{FILE}.new"
    draft.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / FILE)
    return entries


def load(folder: Path) -> list[Entry]:
    """Read what was written down; nothing when there is no file."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [
            Entry(**{**entry, "processes": [ProcessId(**process) for process in entry["processes"]]})
            for entry in found
        ]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise LaunchError(f"{folder / FILE} is not readable: {error}") from error


def forget(folder: Path) -> None:
    """Remove the file."""
    (folder / FILE).unlink(missing_ok=True)
