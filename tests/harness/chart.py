"""The Helm chart as tests read it: rendered by Helm, and as what the pods are told."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ringtime_local.chart import FOLDER, INFRA
from ringtime_shared.settings import Settings, load_settings

KUBERNETES = "1.37.0"  #: that is told to Helm; one that Go built knows none
RELEASE, NAMESPACE = "rt", "pay"
NAME = f"{RELEASE}-ringtime"
#: What a secret's key holds, where pods read it from the environment.
SECRETS = {
    "username": "somebody",
    "password": "of somebody",
    "token": "t" * 16,
    "secret": "s" * 32,
}

Values = Mapping[str, Any]
Manifest = Mapping[str, Any]

#: The least that is to be said, with a gateway in front and without.
BEHIND_GATEWAY: Values = {
    "gateway": True,
    "cassandra": {"contactPoints": ["cassandra-0.cassandra", "cassandra-1.cassandra"]},
    "etcd": {"endpoints": ["etcd-0.etcd:2379", "etcd-1.etcd:2379"]},
}
WITH_TLS: Values = {
    **{key: value for key, value in BEHIND_GATEWAY.items() if key != "gateway"},
    "tls": {"existingSecret": "api-tls"},
    "metrics": {"existingSecret": "metrics-token"},
}
ONE_PROCESS: Values = {"mode": "serve", "gateway": True}
EVERYTHING: Values = {
    "tls": {"existingSecret": "api-tls", "clientCa": True},
    "keyRing": {"existingSecret": "key-ring"},
    "completion": {"baseUrl": "https://ringtime.example.org", "existingSecret": "completion"},
    "cassandra": {
        "contactPoints": ["cassandra"],
        "existingSecret": "cassandra-login",
        "tls": {"existingSecret": "cassandra-tls", "clientCertificate": True},
    },
    "etcd": {
        "endpoints": ["etcd:2379"],
        "existingSecret": "etcd-login",
        "tls": {"existingSecret": "etcd-tls", "clientCertificate": True},
    },
    "kafka": {
        "bootstrap": ["kafka:9092"],
        "existingSecret": "kafka-login",
        "tls": {"existingSecret": "kafka-tls", "clientCertificate": True},
    },
    "callbacks": {
        "caSecret": "company-ca",
        "tlsProfiles": [{"name": "bank", "existingSecret": "bank-tls"}],
    },
    "settings": {
        "kafka": {"security": "SASL_SSL"},
        "ingest": {"workers": 2},
        "egress": {"allow": ["10.1.0.0/16"]},
        "logs": {"level": "debug"},
        "tracing": {"enabled": True, "share": 1},
    },
    "ingest": {"autoscaling": {"enabled": True}, "extraEnv": [{"name": "TZ", "value": "UTC"}]},
    "dispatcher": {"keda": {"enabled": True, "authenticationRef": "prometheus"}},
    "metrics": {"existingSecret": "metrics-token"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbookBase": "https://example.org/ringtime/"},
    "grafanaDashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "imagePullSecrets": [{"name": "registry"}],
    "commonLabels": {"team": "payments"},
}


class Refused(Exception):
    """Helm took the values not."""


class Chart:
    """What a set of values makes."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.manifests = manifests

    def all(self, kind: str) -> list[Manifest]:
        return [each for each in self.manifests if each["kind"] == kind]

    def one(self, kind: str, component: str = "") -> Manifest:
        """Return the only one of a kind, or of a kind and name; `component` follows the release's name."""
        name = f"{NAME}-{component}" if component else NAME
        found = [each for each in self.all(kind) if each["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0]

    def workload(self, component: str) -> Manifest:
        """Return what runs a component's pods."""
        kinds = ("Deployment", "StatefulSet", "Job")
        (found,) = (
            each
            for each in self.manifests
            if each["kind"] in kinds
            and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
        )
        return found

    def pods(self) -> Iterator[Pod]:
        for component in ("ingest", "dispatcher", "web", "serve", "migrate"):
            for kind in ("Deployment", "StatefulSet", "Job"):
                for each in self.all(kind):
                    if each["metadata"]["labels"]["app.kubernetes.io/component"] == component:
                        yield Pod(component, each["spec"]["template"]["spec"], self)

    def pod(self, component: str) -> Pod:
        return next(each for each in self.pods() if each.component == component)


class Pod(NamedTuple):
    """The pods of one component."""

    component: str
    spec: Mapping[str, Any]
    chart: Chart

    @property
    def container(self) -> Mapping[str, Any]:
        (container,) = self.spec["containers"]
        found: Mapping[str, Any] = container
        return found

    @property
    def command(self) -> list[str]:
        return list(self.container["args"])

    def environment(self) -> dict[str, str]:
        """Return what a process of it finds, those variables included that the image sets."""
        environment = image_environment()
        for each in self.container["env"]:
            environment[each["name"]] = str(each["value"]) if "value" in each else _told(each["valueFrom"])
        for name, value in environment.items():
            environment[name] = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], value)
        return environment

    def config(self) -> str:
        """Return its settings file."""
        (name,) = (each["configMap"]["name"] for each in self.spec["volumes"] if each["name"] == "settings")
        (found,) = (each for each in self.chart.all("ConfigMap") if each["metadata"]["name"] == name)
        text: str = found["data"]["ringtime.json"]
        return text

    def settings(self, folder: Path) -> Settings:
        """Return what its processes take. Raises SettingsError."""
        file = folder / "ringtime.json"
        file.write_text(self.config())
        return load_settings(file, self.environment())

    def files(self) -> dict[str, str]:
        """Return the secrets that are mounted, by path."""
        secrets = {
            each["name"]: each["secret"]["secretName"] for each in self.spec["volumes"] if "secret" in each
        }
        return {
            each["mountPath"]: secrets[each["name"]]
            for each in self.container["volumeMounts"]
            if each["name"] in secrets
        }


def render(helm: str, *values: Values) -> Chart:
    """Return the chart with these values, later ones over earlier. Raises Refused with Helm's words."""
    text = _run(helm, "template", RELEASE, values=values)
    return Chart([each for each in yaml.load_all(text, yaml.CSafeLoader) if each is not None])


def lint(helm: str, *values: Values) -> str:
    """Return what Helm finds. Raises Refused."""
    return _run(helm, "lint", "--strict", values=values)


def _run(helm: str, *words: str, values: Sequence[Values]) -> str:
    merged: dict[str, Any] = {}
    for each in values:
        _merge(merged, each)
    done = subprocess.run(
        [helm, *words, FOLDER, "--kube-version", KUBERNETES, "--namespace", NAMESPACE, "--values", "-"],
        input=json.dumps(merged),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def _merge(into: dict[str, Any], values: Values) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = dict(into.get(key) or {})
            _merge(inner, value)
            into[key] = inner
        else:
            into[key] = value


def _told(source: Mapping[str, Any]) -> str:
    if "secretKeyRef" in source:
        return SECRETS[source["secretKeyRef"]["key"]]
    assert source["fieldRef"]["fieldPath"] == "metadata.name"
    return f"{NAME}-dispatcher-0"


@cache
def _image_lines() -> str:
    stage = (INFRA / "Dockerfile").read_text().split(" AS ringtime\n")[1]
    return re.sub(r"\\\n\s*", "", stage)


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets, but PATH."""
    (line,) = re.findall(r"^ENV (.*)$", _image_lines(), re.MULTILINE)
    return {name: value for name, value in (each.split("=", 1) for each in line.split()) if name != "PATH"}


def image_user() -> int:
    """Return whom the image runs as."""
    (user,) = re.findall(r"^USER (\d+)$", _image_lines(), re.MULTILINE)
    return int(user)
