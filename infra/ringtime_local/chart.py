"""What the Helm chart has from elsewhere: `python -m ringtime_local.chart` writes it into `infra/chart`.

Helm reads no file outside of a chart, so alert rules and dashboards lie in its `files` once more, and a test
holds them against their originals. `values.schema.json` has what each value takes, and under `settings` what
each of ours does, by the settings' own types: what would not be read is refused before it is installed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ringtime_local import dashboards
from ringtime_shared.metrics.names import LABEL_VALUES
from ringtime_shared.settings.catalog import SettingField, catalog

INFRA = Path(__file__).parents[1]
FOLDER = INFRA / "chart" / "ringtime"
RULES = INFRA / "prometheus" / "ringtime.rules.yml"
#: Set by the chart, from other values or from what a pod is. `settings` does not take these, nor secrets.
OWNED = frozenset(
    {
        *("server.host", "server.port", "server.cert_file", "server.key_file", "server.client_ca_file"),
        *("access.gateway", "metrics.host", "metrics.port", "completion.base_url", "secrets.key_file"),
        *("callbacks.ca_file", "callbacks.tls_profiles", "embedded.data", "node.name", "node.address"),
        *("web.host", "web.port", "web.api_url", "cassandra.contact_points", "coordination.endpoints"),
        "kafka.bootstrap",
        *(
            f"{group}.{name}"
            for group in ("cassandra", "coordination", "kafka")
            for name in ("username", "ca_file", "cert_file", "key_file")
        ),
    }
)

_Schema = dict[str, Any]


def files() -> Mapping[str, str]:
    """Return what is made, by path within the chart."""
    return {
        "files/ringtime.rules.yml": RULES.read_text(encoding="utf-8"),
        **{f"files/dashboards/{uid}.json": dashboards.text_of(uid) for uid in dashboards.DASHBOARDS},
        "Chart.yaml": _of_the_release((FOLDER / "Chart.yaml").read_text(encoding="utf-8")),
        "values.schema.json": json.dumps(schema(), indent=2) + "\n",
    }


def _of_the_release(text: str) -> str:
    """Return Chart.yaml with the version of the distribution as its `appVersion`."""
    project = tomllib.loads((INFRA.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return re.sub(r"^appVersion: .*$", f'appVersion: "{project["version"]}"', text, flags=re.MULTILINE)


def schema() -> _Schema:
    """Return what Helm holds values against."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_object(_VALUES)}


def is_owned(field: SettingField) -> bool:
    """Whether the chart sets it, or a secret does."""
    return field.key in OWNED or field.is_secret


def _settings() -> _Schema:
    groups: dict[str, _Schema] = {}
    for field in catalog().values():
        if not is_owned(field):
            groups.setdefault(field.group, {})[field.name] = _plain(msgspec.json.schema(field.type))
    return _object({group: _object(fields) for group, fields in groups.items()})


def _plain(described: _Schema) -> _Schema:
    return {key: value for key, value in described.items() if key not in ("title", "default")}


def _object(properties: Mapping[str, _Schema]) -> _Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _integer(least: int, most: int | None = None) -> _Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def _list(of: _Schema) -> _Schema:
    return {"type": "array", "items": of}


def _one_of(*values: str) -> _Schema:
    return {"enum": list(values)}


def _matching(pattern: str) -> _Schema:
    return {"type": "string", "pattern": pattern}


def _hosts(key: str) -> _Schema:
    """What a setting takes that is a list; here it may be empty."""
    return _list(msgspec.json.schema(catalog()[key].type)["items"])


_YES_OR_NO: _Schema = {"type": "boolean"}
_TEXT: _Schema = {"type": "string"}
_ANY: _Schema = {"type": "object"}  #: Kubernetes itself says what it takes
_ITEMS: _Schema = _list(_ANY)
_WORDS: _Schema = {"type": "object", "additionalProperties": {"type": "string"}}
#: Beside the chart's own: one that is there twice is no YAML to Kubernetes.
_OWN_LABELS = r"^(app\.kubernetes\.io/(name|instance|component|version|managed-by)|helm\.sh/chart)$"
_LABELS: _Schema = {**_WORDS, "propertyNames": {"not": {"pattern": _OWN_LABELS}}}
_SECRET = _matching(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
_SECRET_KEY = _matching(r"^[-._a-zA-Z0-9]+$")
_NAME = _matching(r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$")
_PORT = _integer(1, 65_535)
_SECONDS_OR_COMPUTED: _Schema = {"type": ["integer", "null"], "minimum": 0}
_COUNT_OR_SHARE: _Schema = {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]{1,3}%$"}
_RESOURCES = _object({"requests": _ANY, "limits": _ANY, "claims": _ITEMS})
_SERVICE = _object(
    {"type": _one_of("ClusterIP", "NodePort", "LoadBalancer"), "port": _PORT, "annotations": _WORDS}
)
_TLS = _object({"existingSecret": _SECRET, "clientCertificate": _YES_OR_NO})
_LOGIN = {"existingSecret": _SECRET, "tls": _TLS}
_POD = {
    "resources": _RESOURCES,
    "priorityClassName": _TEXT,
    "nodeSelector": _WORDS,
    "tolerations": _ITEMS,
    "affinity": _ANY,
    "podAnnotations": _WORDS,
    "podLabels": _LABELS,
    "extraEnv": _ITEMS,
}
_PODS = {
    **_POD,
    "replicas": _integer(0, 10_000),
    "podDisruptionBudget": _object({"enabled": _YES_OR_NO, "maxUnavailable": _COUNT_OR_SHARE}),
    "topologySpread": _object(
        {"enabled": _YES_OR_NO, "whenUnsatisfiable": _one_of("ScheduleAnyway", "DoNotSchedule")}
    ),
}
_KEDA = _object(
    {
        "enabled": _YES_OR_NO,
        "minReplicas": _integer(1),  # with none nothing fires, and nobody forecasts
        "maxReplicas": _integer(1),
        "pollingInterval": _integer(1),
        "cooldownPeriod": _integer(0, 3_600),
        "serverAddress": _matching(r"^https?://\S+$"),
        "authenticationRef": _TEXT,
        "oldestDueSeconds": _integer(1),
        "forecast": _object(
            {"minutes": _one_of(*LABEL_VALUES["minutes"]), "callbacksPerMinute": _integer(1)}
        ),
    }
)
_VALUES: Mapping[str, _Schema] = {
    "global": _ANY,  # Helm's own
    "mode": _one_of("split", "serve"),
    "image": _object(
        {
            "repository": _matching(r"^\S+$"),
            "tag": _TEXT,
            "digest": _matching(r"^(sha256:[0-9a-f]{64})?$"),
            "pullPolicy": _one_of("Always", "IfNotPresent", "Never"),
        }
    ),
    "imagePullSecrets": _ITEMS,
    "nameOverride": _NAME,
    "fullnameOverride": _NAME,
    "commonLabels": _LABELS,
    "settings": _settings(),
    "gateway": _YES_OR_NO,
    "tls": _object({"existingSecret": _SECRET, "ownAuthority": _YES_OR_NO, "clientCa": _YES_OR_NO}),
    "keyRing": _object({"existingSecret": _SECRET, "file": _SECRET_KEY}),
    "completion": _object(
        {
            "baseUrl": _plain(msgspec.json.schema(catalog()["completion.base_url"].type)),
            "existingSecret": _SECRET,
            "key": _SECRET_KEY,
        }
    ),
    "cassandra": _object({"contactPoints": _list(_matching(r"^([^\s:/]+|[0-9a-fA-F:]+)$")), **_LOGIN}),
    "etcd": _object({"endpoints": _hosts("coordination.endpoints"), **_LOGIN}),
    "kafka": _object({"bootstrap": _hosts("kafka.bootstrap"), **_LOGIN}),
    "callbacks": _object(
        {
            "caSecret": _SECRET,
            "tlsProfiles": _list(
                {
                    **_object({"name": _matching(r"^[A-Za-z0-9._-]{1,64}$"), "existingSecret": _SECRET}),
                    "required": ["name", "existingSecret"],
                }
            ),
        }
    ),
    "ingest": _object(
        {
            **_PODS,
            "preStopSeconds": _integer(0, 600),
            "terminationGracePeriodSeconds": _SECONDS_OR_COMPUTED,
            "service": _SERVICE,
            "autoscaling": _object(
                {
                    "enabled": _YES_OR_NO,
                    "minReplicas": _integer(1),
                    "maxReplicas": _integer(1),
                    "targetCPUUtilizationPercentage": _integer(1, 100),
                }
            ),
        }
    ),
    "dispatcher": _object(
        {
            **_PODS,
            "drain": _object({"enabled": _YES_OR_NO, "timeoutSeconds": _SECONDS_OR_COMPUTED}),
            "terminationGracePeriodSeconds": _SECONDS_OR_COMPUTED,
            "minReadySeconds": _integer(0, 3_600),
            "keda": _KEDA,
        }
    ),
    "web": _object(
        {**_PODS, "enabled": _YES_OR_NO, "apiUrl": _matching(r"^(https?://\S+)?$"), "service": _SERVICE}
    ),
    "serve": _object(
        {
            **_POD,
            "terminationGracePeriodSeconds": _SECONDS_OR_COMPUTED,
            "service": _SERVICE,
            "persistence": _object(
                {
                    "size": _matching(r"^[0-9.]+(Ki|Mi|Gi|Ti|Pi)?$"),
                    "storageClassName": {"type": ["string", "null"]},
                    "accessModes": _list(_one_of("ReadWriteOnce", "ReadWriteOncePod")),
                }
            ),
        }
    ),
    "migration": _object(
        {
            "enabled": _YES_OR_NO,
            "hook": _YES_OR_NO,
            "annotations": _WORDS,
            "backoffLimit": _integer(0),
            "activeDeadlineSeconds": _integer(1),
            "resources": _RESOURCES,
        }
    ),
    "metrics": _object({"enabled": _YES_OR_NO, "port": _PORT, "existingSecret": _SECRET, "key": _SECRET_KEY}),
    "serviceMonitor": _object(
        {
            "enabled": _YES_OR_NO,
            "job": _TEXT,
            "interval": _matching(r"^[0-9]+(ms|s|m)$"),
            "scrapeTimeout": _matching(r"^[0-9]+(ms|s|m)$"),
            "labels": _WORDS,
            "tls": _object({"caSecret": _SECRET, "serverName": _TEXT}),
        }
    ),
    "prometheusRule": _object(
        {"enabled": _YES_OR_NO, "labels": _WORDS, "runbookBase": _matching(r"^(https?://\S+/)?$")}
    ),
    "grafanaDashboards": _object({"enabled": _YES_OR_NO, "labels": _WORDS, "annotations": _WORDS}),
    "networkPolicy": _object(
        {
            "enabled": _YES_OR_NO,
            "apiFrom": _ITEMS,
            "webFrom": _ITEMS,
            "metricsFrom": _ITEMS,
            "serversTo": _ITEMS,
            "extraEgress": _ITEMS,
        }
    ),
    "serviceAccount": _object({"create": _YES_OR_NO, "name": _TEXT, "annotations": _WORDS}),
    "podSecurityContext": _ANY,
    "securityContext": _ANY,
}


def main() -> None:
    """Write all of it."""
    for name, text in files().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
