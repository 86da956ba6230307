"""`ringtime serve` as a process of its own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_STOP_S = 120


class ServerProcess:
    """One server on one data folder; can be killed and started again on the same port."""

    def __init__(
        self,
        data: Path,
        *,
        environment: Mapping[str, str] | None = None,
        clock: Path | None = None,
        log: Path | None = None,
        descriptors: int | None = None,
        stepped_from: str = "",
        port: int = 0,
    ) -> None:
        """Prepare a server.

        Args:
            clock: the file that says what time it is there; see `steered_clock`.
            log: where to keep what it says; beside the folder if it is not given.
            descriptors: how many the process may have open, and cannot raise.
            port: where it listens; 0: anywhere.
            stepped_from: an instant; it runs on a test clock from then on, and keeps nothing in the folder.
        """
        self.base = ""
        self.data = data
        self.python = sys.executable  #: that of another release's environment, to run it from the next start
        self._descriptors = descriptors
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._clock = clock
        self._stepped_from = stepped_from
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self._log = (log or data.parent / f"{data.name}.log").open("a")

    def start(self) -> None:
        """Start and return once it takes requests."""
        port, data = str(self._port), str(self.data)
        serve = ["ringtime_shared.entry", "ringtime.main", "serve"]  # as the installed command begins
        module = [*serve, "--port", port, "--data", data]
        if self._clock is not None:
            module = ["tests.harness.steered_clock", str(self._clock), port, data]
        if self._stepped_from:
            stepped = ("--clock", "manual", "--clock-start", self._stepped_from)
            module = [*serve, "--port", port, *stepped]
        self._process = subprocess.Popen(
            [self.python, "-m", *module],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
            preexec_fn=self._limit,
        )
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, ""):
            if "listens on " in line:
                break
        else:
            self._process.communicate(timeout=_STOP_S)
            raise AssertionError(f"the server did not start; see {self._log.name}")
        self.base = line.split("listens on ")[1].strip()
        self._port = int(self.base.split(":")[2].split("/")[0])

    def _limit(self) -> None:
        if self._descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, self._descriptors))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what it said on stderr, over all its starts."""
        return Path(self._log.name).read_text()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        self._process.communicate(timeout=_STOP_S)
        return self._process.returncode

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """End whatever still runs."""
        if self.is_running():
            self._end(signal.SIGKILL)
        self._log.close()

    def cpu_s(self) -> float:
        """Return the processor time used so far, user and system, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Return how many descriptors are open now."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_bytes(self) -> int:
        """Return the memory in use now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.communicate(timeout=_STOP_S)
        return self._process.returncode


def fetch_ready(server: ServerProcess) -> int:
    """Return the status of `/health/ready`."""
    url = server.base.replace("/goscheduler", "/health/ready")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    return status


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[ServerProcess]:
    """Run a server on `folder/data` with these settings, each `group_name=value`."""
    environment = {f"RINGTIME_{name.upper()}": str(value) for name, value in settings.items()}
    process = ServerProcess(folder / "data", environment=environment)
    try:
        process.start()
        yield process
    finally:
        process.close()
