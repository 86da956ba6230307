"""Prometheus and promtool, to check `infra/prometheus` with and to see its alerts fire."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from ringtime_local.addresses import Address
from ringtime_local.cache import cached
from ringtime_local.debian import NEEDS, unpack_programs
from ringtime_local.errors import MissingPrerequisite, NotReady, StartFailed
from ringtime_local.ports import take_ports
from ringtime_local.process import Command
from ringtime_local.server import LocalServer

HOST = "127.0.0.1"
PACKAGE = "prometheus"  #: of Debian
PROBE_TIMEOUT_S = 5.0


class Programs(NamedTuple):
    """Where they are."""

    prometheus: str
    promtool: str


def find_prometheus(*, abort: Event) -> Programs:
    """Return both from PATH, else from the Debian package (two seconds). Raises MissingPrerequisite."""
    on_path = [shutil.which(name) for name in Programs._fields]
    if all(on_path):
        return Programs(*map(str, on_path))
    why = ""
    if all(map(shutil.which, NEEDS)):
        fill = partial(_unpack, abort=abort)
        try:
            folder = cached("prometheus-debian", fill, abort)
            return Programs(*(str(folder / name) for name in Programs._fields))
        except StartFailed as error:
            why = f"\n{error}"
    raise MissingPrerequisite(
        "There is no `prometheus` and `promtool` on PATH, and apt-get could not provide them: "
        f"install Prometheus 2.42 or newer (Debian, Ubuntu: apt-get install {PACKAGE}).{why}"
    )


def _unpack(folder: Path, *, abort: Event) -> None:
    unpack_programs(PACKAGE, Programs._fields, folder, abort=abort)


class Alert(NamedTuple):
    """One alert that is not at rest."""

    name: str
    state: str  #: `pending` or `firing`
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class PrometheusServer(LocalServer):
    """One server on a configuration of the caller's, with its data in its folder."""

    name = "prometheus"

    def __init__(self, folder: Path, configuration: Path, *, abort: Event | None = None) -> None:
        super().__init__(folder, abort=abort)
        self.address = Address(HOST, take_ports(1)[0])
        self._configuration = configuration.absolute()

    def probe(self) -> None:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=PROBE_TIMEOUT_S):
                return
        except (urllib.error.URLError, OSError) as error:
            raise NotReady(str(error)) from error

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Return what an expression gives now: labels and value of each series."""
        asked = urllib.parse.urlencode({"query": expression})
        answer = self._fetch(f"/api/v1/query?{asked}")
        return [(each["metric"], float(each["value"][1])) for each in answer["result"]]

    def alerts(self) -> list[Alert]:
        """Return the alerts that fire, or will if it goes on."""
        return [
            Alert(each["labels"]["alertname"], each["state"], each["labels"], each["annotations"])
            for each in self._fetch("/api/v1/alerts")["alerts"]
        ]

    def rules(self) -> list[Mapping[str, Any]]:
        """Return all rules as Prometheus has read them."""
        return [rule for group in self._fetch("/api/v1/rules")["groups"] for rule in group["rules"]]

    def _fetch(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PROBE_TIMEOUT_S) as answer:
            return json.loads(answer.read())["data"]

    def _prepare(self) -> Command:
        program = find_prometheus(abort=self._abort).prometheus
        flags = (
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--log.level=warn",
        )
        return Command((program, *flags))
