"""A server in a container, by `docker compose`: the same command line in an image that holds the program.

The container shares this machine's network (so ports and addresses are the same) and the server's folder (so
configuration and data are). It runs as this user where it
can. Nothing here is needed when the programs are on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from threading import Event

from ringtime_local.process import Command
from ringtime_local.tools import last_lines, run_tool

PULL_TIMEOUT_S = 600.0
COMMAND_TIMEOUT_S = 60.0


class ContainerProcess:
    """One container, known by the compose file in the server's folder."""

    def __init__(self, name: str, command: Command, *, folder: Path) -> None:
        self._name = name
        self._file = folder / "compose.json"
        self._file.write_text(compose_text(name, command, folder), encoding="utf-8")
        self._compose("up", "--detach", timeout_s=PULL_TIMEOUT_S)
        self._pid = int(self._inspect("{{.State.Pid}}"))

    @property
    def pid(self) -> int:
        return self._pid

    def is_running(self) -> bool:
        return self._inspect("{{.State.Running}}") == "true"

    def signal(self, number: signal.Signals) -> None:
        verb = {signal.SIGSTOP: ["pause"], signal.SIGCONT: ["unpause"]}.get(
            number, ["kill", "--signal", number.name]
        )
        if self.is_running():
            self._compose(*verb)

    def stop(self, grace_s: float) -> None:
        """End and remove the container; the data is in the folder."""
        remove_container(self._file, grace_s)

    def kill(self) -> None:
        self._compose("kill")

    def read_log(self) -> str:
        return last_lines(self._compose("logs", "--no-log-prefix", "--tail", "30"))

    def _compose(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        return _uninterrupted(["docker", "compose", "-f", str(self._file), *words], timeout_s)

    def _inspect(self, template: str) -> str:
        container = self._compose("ps", "--all", "--quiet").strip()
        if not container:
            return ""
        return _uninterrupted(
            ["docker", "inspect", "--format", template, container], COMMAND_TIMEOUT_S
        ).strip()


def remove_container(compose_file: Path, grace_s: float) -> None:
    """End a container that an earlier process started, and remove it."""
    argv = ["docker", "compose", "-f", str(compose_file), "down", "--timeout", str(int(grace_s))]
    _uninterrupted(argv, grace_s + COMMAND_TIMEOUT_S)


def compose_text(name: str, command: Command, folder: Path) -> str:
    """Return the compose file of one server: JSON, which is YAML too."""
    service = {
        "image": command.image,
        "entrypoint": [word.replace("$", "$$") for word in command.argv],  # compose reads $ as a variable
        "user": "0:0" if command.as_root else f"{os.getuid()}:{os.getgid()}",
        "network_mode": "host",
        "working_dir": str(folder),
        "volumes": [{"type": "bind", "source": str(folder), "target": str(folder)}],
        "ulimits": {"nofile": 65536},
    }
    project = hashlib.sha256(str(folder).encode()).hexdigest()[:12]  # one project per folder
    return json.dumps({"name": f"ringtime-{name}-{project}", "services": {name: service}}, indent=2)


def _uninterrupted(argv: list[str], timeout_s: float) -> str:
    """Run a docker command that nothing may interrupt: clean-up has to work after an abort too."""
    return run_tool(argv, abort=Event(), timeout_s=timeout_s)
