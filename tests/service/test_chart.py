"""The Helm chart, rendered: one test an option. Helm is on PATH, or built once by Go."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from tests.harness.chart import (
    BEHIND_GATEWAY,
    EVERYTHING,
    NAME,
    NAMESPACE,
    ONE_PROCESS,
    WITH_TLS,
    Chart,
    Pod,
    Refused,
    Values,
    lint,
    render,
)
from tests.harness.monitoring import DASHBOARDS, ROOT, RULES

from ringtime.main import main as ringtime
from ringtime_dispatcher.main import main as dispatcher
from ringtime_ingest.main import main as ingest
from ringtime_local import MissingPrerequisite
from ringtime_local.helm import BUILD_TIMEOUT_S, find_helm
from ringtime_local.prometheus import find_prometheus
from ringtime_ringctl.main import main as ringctl
from ringtime_shared.http_server.exposure import require_guarded, require_metrics_guarded
from ringtime_shared.settings import Settings
from ringtime_web.main import main as web

# Where there is no Helm yet, the first test waits until it is built.
pytestmark = [pytest.mark.service, pytest.mark.timeout(BUILD_TIMEOUT_S + 300)]

SETS = {
    "behind a gateway": BEHIND_GATEWAY,
    "with TLS": WITH_TLS,
    "one process": ONE_PROCESS,
    "one process with TLS": {**WITH_TLS, "mode": "serve", "networkPolicy": {"enabled": True}},
    "everything": EVERYTHING,
    "a plain job": {**BEHIND_GATEWAY, "migration": {"hook": False}},
}
#: Of other projects: Kubernetes has no schema of them.
FOREIGN = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ScaledObject": "keda.sh/v1alpha1",
}


COMMANDS: Mapping[str, click.Command] = {
    "ringtime": ringtime,
    "ringtime-ingest": ingest,
    "ringtime-dispatcher": dispatcher,
    "ringtime-web": web,
}
#: Where the command line of a component ends.
ENDS = {"ingest": "main", "dispatcher": "main", "web": "main", "serve": "serve", "migrate": "migrate"}
#: Read once: the definitions alone are megabytes.
_schema = cache(kubernetes_validate.utils.schema_contents)


@pytest.fixture(scope="module")
def helm() -> str:
    try:
        return find_helm(abort=Event())
    except MissingPrerequisite as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def charts(helm: str) -> Mapping[str, Chart]:
    return {name: render(helm, values) for name, values in SETS.items()}


@pytest.fixture(scope="module")
def plain(charts: Mapping[str, Chart]) -> Chart:
    return charts["behind a gateway"]


@pytest.fixture(scope="module")
def full(charts: Mapping[str, Chart]) -> Chart:
    return charts["everything"]


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_to_say(helm: str, name: str) -> None:
    assert "0 chart(s) failed" in lint(helm, SETS[name])


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("name", SETS)
def test_kubernetes_takes_what_is_made(
    charts: Mapping[str, Chart], name: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", _schema)
    seen = set()
    for each in charts[name].manifests:
        key = each["kind"], each["metadata"]["name"]
        assert key not in seen, "two of one name"
        seen.add(key)
        if each["kind"] in FOREIGN:
            assert each["apiVersion"] == FOREIGN[each["kind"]]
        else:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("name", SETS)
def test_every_pod_takes_its_settings_and_is_not_refused_its_start(
    charts: Mapping[str, Chart], name: str, tmp_path: Path
) -> None:
    components = set()
    for pod in charts[name].pods():
        settings = pod.settings(tmp_path)
        components.add(pod.component)
        for group in (settings.cassandra, settings.coordination, settings.kafka):
            for file in (group.ca_file, group.cert_file, group.key_file):
                assert not file or file.rpartition("/")[0] in pod.files()
        assert bool(settings.embedded.data) == (pod.component == "serve"), "else ringctl opens a folder"
        if pod.component in ("ingest", "serve", "web"):
            require_guarded(settings, has_keys=settings.access.are_keys_required())
        require_metrics_guarded(settings)
    split = {"ingest", "dispatcher", "web", "migrate"}
    assert components == ({"serve"} if name.startswith("one process") else split)


@pytest.mark.parametrize("name", SETS)
def test_every_pod_has_few_rights(charts: Mapping[str, Chart], name: str) -> None:
    for pod in charts[name].pods():
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod.container["resources"]["limits"]["memory"]
        writable = {"tmp"} | ({"data"} if pod.component == "serve" else set())
        for mount in pod.container["volumeMounts"]:
            assert mount["name"] in writable or mount["readOnly"]


@pytest.mark.parametrize("name", SETS)
def test_commands_ports_and_probes_are_those_of_the_image(charts: Mapping[str, Chart], name: str) -> None:
    for pod in charts[name].pods():
        assert _ends_at(COMMANDS[pod.command[0]], pod.command[1:]) == ENDS[pod.component]
        ports = {each["name"] for each in pod.container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            for asked in ("httpGet", "tcpSocket"):
                if asked in pod.container.get(probe, {}):
                    assert pod.container[probe][asked]["port"] in ports
        if "preStop" in pod.container.get("lifecycle", {}):
            words = pod.container["lifecycle"]["preStop"]["exec"]["command"]
            line = words[-1].removeprefix("exec ringctl ").split()
            assert words[0] == "sleep" or _ends_at(ringctl, line) == "drain"


def _ends_at(command: click.Command, words: Sequence[str]) -> str | None:
    """Return the name of the command that a line runs, all of whose options there are."""
    options = {option for each in command.params for option in each.opts}
    for word in words:
        named = (
            command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        )
        if named is not None:
            command = named
            options = {option for each in command.params for option in each.opts}
        elif word.startswith("--"):
            assert word in options
    return command.name


# Refusals

WRONG: list[tuple[Values, str]] = [
    ({}, "cassandra.contactPoints: name at least one host"),
    ({}, "etcd.endpoints: name at least one host:port"),
    ({}, "tls.existingSecret: name a secret"),
    ({}, "metrics.existingSecret: name a secret"),
    ({"ingest": {"replicas": "two"}}, "/ingest/replicas"),
    ({"ingest": {"replica": 2}}, "'replica' not allowed"),
    ({"mode": "cluster"}, "/mode"),
    ({"settings": {"dispatch": {"tick_ms": 5}}}, "/settings/dispatch/tick_ms"),
    ({"settings": {"dispatch": {"tik_ms": 200}}}, "'tik_ms' not allowed"),
    ({"settings": {"dispach": {}}}, "'dispach' not allowed"),
    ({"settings": {"cassandra": {"password": "x"}}}, "'password' not allowed"),
    ({"settings": {"server": {"port": 80}}}, "'port' not allowed"),
    ({"settings": {"cassandra": {"keyspace": "No"}}}, "/settings/cassandra/keyspace"),
    ({"etcd": {"endpoints": ["etcd"]}}, "/etcd/endpoints/0"),
    ({"etcd": {"endpoints": ["https://etcd:2379"]}}, "/etcd/endpoints/0"),
    ({"kafka": {"bootstrap": ["PLAINTEXT://kafka:9092"]}}, "/kafka/bootstrap/0"),
    ({"cassandra": {"contactPoints": ["cassandra:9042"]}}, "/cassandra/contactPoints/0"),
    ({"fullnameOverride": "Ring_Time"}, "/fullnameOverride"),
    ({"nameOverride": "ring.time"}, "/nameOverride"),
    ({"commonLabels": {"app.kubernetes.io/component": "us"}}, "Name 'app.kubernetes.io/component'"),
    ({"ingest": {"podLabels": {"app.kubernetes.io/name": "us"}}}, "Name 'app.kubernetes.io/name'"),
    ({"image": {"digest": "latest"}}, "/image/digest"),
    ({"callbacks": {"tlsProfiles": [{"name": "bank"}]}}, "existingSecret"),
    ({"completion": {"baseUrl": "https://example.org"}}, "completion: baseUrl and existingSecret"),
    ({"cassandra": {"tls": {"clientCertificate": True}}}, "cassandra.tls.existingSecret: clientCertificate"),
    ({"tls": {"ownAuthority": False, "clientCa": True}}, "tls.ownAuthority: tls.clientCa needs"),
    ({"tls": {"clientCa": True}}, "tls.existingSecret: tls.clientCa needs it"),
    ({"metrics": {"enabled": False}, "serviceMonitor": {"enabled": True}}, "metrics.enabled: serviceMonitor"),
    (
        {"metrics": {"enabled": False}, "dispatcher": {"keda": {"enabled": True}}},
        "metrics.enabled: dispatcher",
    ),
    ({"metrics": {"port": 8080}}, "metrics.port: 8080 is the API's"),
    ({"metrics": {"port": 8079}, "settings": {"ingest": {"workers": 2}}}, "metrics.port: 8080 is the API's"),
    (
        {"ingest": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
        "ingest.resources.requests.cpu: ingest.autoscaling counts in shares of it",
    ),
    ({"dispatcher": {"keda": {"minReplicas": 30}}}, "dispatcher.keda.maxReplicas: must be at least"),
    ({"dispatcher": {"keda": {"forecast": {"minutes": "60"}}}}, "/dispatcher/keda/forecast/minutes"),
    (
        {"dispatcher": {"terminationGracePeriodSeconds": 60}},
        "dispatcher.terminationGracePeriodSeconds: 60 is too short: a pod may take 100 s",
    ),
    (
        {
            "settings": {"limits": {"max_http_timeout_ms": 600_000}},
            "dispatcher": {"terminationGracePeriodSeconds": 600},
        },
        "a pod may take 640 s",
    ),
    ({"dispatcher": {"drain": {"timeoutSeconds": 30}}}, "dispatcher.drain.timeoutSeconds: 30 is too short"),
    (
        {"ingest": {"terminationGracePeriodSeconds": 30}},
        "ingest.terminationGracePeriodSeconds: 30 is too short",
    ),
    (
        {"mode": "serve", "serve": {"terminationGracePeriodSeconds": 30}},
        "serve.terminationGracePeriodSeconds: 30",
    ),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=lambda part: part if isinstance(part, str) else "")
def test_a_value_that_cannot_be_is_refused_by_name(helm: str, values: Values, words: str) -> None:
    with pytest.raises(Refused) as refused:
        render(helm, {} if not values else BEHIND_GATEWAY, values)
    assert words in str(refused.value)


# Services, one option each


def test_replicas_resources_and_where_pods_go(helm: str) -> None:
    of_one = {
        "replicas": 7,
        "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "3Gi"}},
        "priorityClassName": "payments",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
    }
    chart = render(helm, BEHIND_GATEWAY, dict.fromkeys(("ingest", "dispatcher", "web"), of_one))
    for component in ("ingest", "dispatcher", "web"):
        workload, pod = chart.workload(component), chart.pod(component)
        assert workload["spec"]["replicas"] == 7
        assert pod.container["resources"]["requests"] == {
            "cpu": "3",
            "memory": pod.container["resources"]["requests"]["memory"],
        }
        assert pod.container["resources"]["limits"]["memory"] == "3Gi"
        assert pod.spec["priorityClassName"] == "payments"
        assert (pod.spec["nodeSelector"], pod.spec["tolerations"][0]["key"]) == ({"disk": "ssd"}, "own")
        metadata = workload["spec"]["template"]["metadata"]
        assert (metadata["annotations"]["a"], metadata["labels"]["c"]) == ("b", "d")
        assert {"name": "TZ", "value": "UTC"} in pod.container["env"]
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= metadata["labels"].items()
        spread = pod.spec["topologySpreadConstraints"]
        assert [each["topologyKey"].partition("/")[2] for each in spread] == ["zone", "hostname"]
        for each in spread:
            assert (each["maxSkew"], each["whenUnsatisfiable"]) == (1, "DoNotSchedule")
            assert each["labelSelector"]["matchLabels"] == selector
        budget = chart.one("PodDisruptionBudget", component)["spec"]
        assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == (1, selector)


def test_budgets_and_spread_may_be_off(helm: str) -> None:
    off = {"podDisruptionBudget": {"enabled": False}, "topologySpread": {"enabled": False}}
    chart = render(helm, BEHIND_GATEWAY, dict.fromkeys(("ingest", "dispatcher", "web"), off))
    assert chart.all("PodDisruptionBudget") == []
    assert all("topologySpreadConstraints" not in pod.spec for pod in chart.pods())


def test_services_lead_to_the_pods(full: Chart) -> None:
    for component in ("ingest", "dispatcher", "web"):
        labels = full.workload(component)["spec"]["template"]["metadata"]["labels"]
        service = full.one("Service", component)["spec"]
        assert service["selector"].items() <= labels.items()
        assert service["ports"][0]["targetPort"] == "http"
        metrics = full.one("Service", "metrics")["spec"]
        assert metrics["selector"].items() <= labels.items()
    assert full.one("Service", "dispatcher")["spec"]["clusterIP"] == "None"


def test_an_image_by_tag_and_by_digest(helm: str, plain: Chart) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {pod.container["image"] for pod in plain.pods()} == {f"ringtime:{version}"}
    digest = f"sha256:{'a' * 64}"
    chart = render(
        helm, BEHIND_GATEWAY, {"image": {"repository": "r.example.org/ringtime", "digest": digest}}
    )
    assert {pod.container["image"] for pod in chart.pods()} == {f"r.example.org/ringtime@{digest}"}


def test_a_dispatcher_is_a_node_by_its_name(plain: Chart, tmp_path: Path) -> None:
    workload = plain.workload("dispatcher")
    assert (workload["kind"], workload["spec"]["serviceName"]) == ("StatefulSet", f"{NAME}-dispatcher")
    node = plain.pod("dispatcher").settings(tmp_path).node
    assert node.name == f"{NAME}-dispatcher-0"
    assert node.address == f"{node.name}.{NAME}-dispatcher.{NAMESPACE}.svc:8080"


def test_a_dispatcher_hands_over_before_it_is_stopped(plain: Chart) -> None:
    pod = plain.pod("dispatcher")
    *shell, line = pod.container["lifecycle"]["preStop"]["exec"]["command"]
    assert shell == ["sh", "-c"]
    assert 'drain "$RINGTIME_NODE_NAME" --until-exit --wait --timeout 70' in line
    assert line.split()[2:4] == pod.command[1:3], "the settings of the pod itself"


def test_the_drain_may_be_off(helm: str) -> None:
    chart = render(helm, BEHIND_GATEWAY, {"dispatcher": {"drain": {"enabled": False}}})
    assert "lifecycle" not in chart.pod("dispatcher").container
    assert chart.pod("dispatcher").spec["terminationGracePeriodSeconds"] == 100


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limits": {"max_http_timeout_ms": 120_500}, "coordination": {"ttl_s": 30, "margin_ms": 3_000}},
        {"dispatch": {"drain_s": 60.5}, "server": {"drain_s": 40}},
        {"kafka": {"deadline_ms": 90_000}},
    ],
    ids=["defaults", "callbacks and lease", "drains", "kafka"],
)
def test_pods_have_time_for_the_longest_callback_and_a_lease(
    helm: str, settings: Values, tmp_path: Path
) -> None:
    chart = render(helm, BEHIND_GATEWAY, {"settings": settings, "kafka": {"bootstrap": ["kafka:9092"]}})
    pod = chart.pod("dispatcher")
    told: Settings = pod.settings(tmp_path)
    longest_s = max(told.limits.max_http_timeout_ms, told.kafka.deadline_ms) / 1_000
    drain_s = float(pod.container["lifecycle"]["preStop"]["exec"]["command"][-1].split()[-1])
    grace_s = pod.spec["terminationGracePeriodSeconds"]
    assert drain_s >= longest_s + told.coordination.ttl_s
    assert drain_s + told.dispatch.drain_s + 10 <= grace_s <= drain_s + told.dispatch.drain_s + 12
    ingest = chart.pod("ingest")
    assert ingest.spec["terminationGracePeriodSeconds"] >= 5 + told.server.drain_s + 10
    assert ingest.container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]


def test_a_pod_may_be_given_longer(helm: str) -> None:
    chart = render(
        helm,
        BEHIND_GATEWAY,
        {"dispatcher": {"terminationGracePeriodSeconds": 300, "drain": {"timeoutSeconds": 120}}},
    )
    pod = chart.pod("dispatcher")
    assert pod.spec["terminationGracePeriodSeconds"] == 300
    assert pod.container["lifecycle"]["preStop"]["exec"]["command"][-1].endswith("--timeout 120")


def test_the_dashboard_asks_the_api(charts: Mapping[str, Chart], helm: str, tmp_path: Path) -> None:
    for name, scheme in (("behind a gateway", "http"), ("with TLS", "https")):
        pod = charts[name].pod("web")
        assert pod.settings(tmp_path).web.api_url == f"{scheme}://{NAME}-ingest.{NAMESPACE}.svc:8080"
    assert pod.environment()["RINGTIME_CA_FILE"] == "/etc/ringtime/tls/server/ca.crt"
    assert "RINGTIME_CLIENT_CERT_FILE" not in pod.environment()
    shown = charts["everything"].pod("web")  # the API asks clients for a certificate
    for variable, file in (("CERT", "tls.crt"), ("KEY", "tls.key")):
        path = f"/etc/ringtime/tls/server/{file}"
        assert shown.environment()[f"RINGTIME_CLIENT_{variable}_FILE"] == path
    without = render(helm, BEHIND_GATEWAY, {"web": {"enabled": False}})
    assert [each.component for each in without.pods()] == ["ingest", "dispatcher", "migrate"]


def test_a_certificate_of_a_public_authority_needs_no_other(helm: str, tmp_path: Path) -> None:
    public = {
        "tls": {"ownAuthority": False},
        "web": {"apiUrl": "https://ringtime.example.org"},
        "serviceMonitor": {"enabled": True, "tls": {"serverName": "ringtime.example.org"}},
    }
    chart = render(helm, WITH_TLS, public)
    pod = chart.pod("web")
    assert "RINGTIME_CA_FILE" not in pod.environment()
    assert pod.settings(tmp_path).web.api_url == "https://ringtime.example.org"
    (endpoint,) = chart.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["tlsConfig"] == {"serverName": "ringtime.example.org"}


def test_one_process_has_its_data_in_a_volume(helm: str, charts: Mapping[str, Chart], tmp_path: Path) -> None:
    workload = charts["one process"].workload("serve")
    assert (workload["kind"], workload["spec"]["replicas"]) == ("StatefulSet", 1)
    pod = charts["one process"].pod("serve")
    assert pod.settings(tmp_path).embedded.data == "/data"
    assert {"name": "data", "mountPath": "/data"} in pod.container["volumeMounts"]
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert "storageClassName" not in claim["spec"]
    disk = {"size": "1Ti", "storageClassName": "fast"}
    (claim,) = render(helm, ONE_PROCESS, {"serve": {"persistence": disk}}).workload("serve")["spec"][
        "volumeClaimTemplates"
    ]
    assert (claim["spec"]["storageClassName"], claim["spec"]["resources"]["requests"]["storage"]) == (
        "fast",
        "1Ti",
    )


# Secrets and TLS


def test_each_server_has_its_login_from_a_secret_and_none_is_in_a_file(full: Chart, tmp_path: Path) -> None:
    settings = full.pod("dispatcher").settings(tmp_path)
    for group in (settings.cassandra, settings.coordination, settings.kafka):
        assert (group.username, group.password) == ("somebody", "of somebody")
    assert (settings.metrics.token, settings.completion.secret) == ("t" * 16, "s" * 32)
    for each in full.all("ConfigMap"):
        assert not re.search(r'"(password|username|token|secret|keys)"', str(each["data"]))
    names = {
        each["valueFrom"]["secretKeyRef"]["name"]
        for each in full.pod("dispatcher").container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert names == {"cassandra-login", "etcd-login", "kafka-login", "metrics-token", "completion"}


def test_files_of_secrets_are_mounted_where_settings_look_for_them(full: Chart, tmp_path: Path) -> None:
    pod = full.pod("dispatcher")
    settings, files = pod.settings(tmp_path), pod.files()
    said = {
        settings.server.cert_file: "api-tls",
        settings.server.client_ca_file: "api-tls",
        settings.cassandra.key_file: "cassandra-tls",
        settings.coordination.ca_file: "etcd-tls",
        settings.kafka.cert_file: "kafka-tls",
        settings.callbacks.ca_file: "company-ca",
        settings.secrets.key_file: "key-ring",
    }
    assert {path: files[path.rpartition("/")[0]] for path in said} == said
    assert settings.callbacks.tls_profiles == ("bank=/etc/ringtime/tls/profiles/bank",)
    assert files["/etc/ringtime/tls/profiles/bank"] == "bank-tls"
    modes = {each["secret"]["defaultMode"] for each in pod.spec["volumes"] if "secret" in each}
    assert modes == {0o440}, "a key ring that others can read is refused"


def test_probes_speak_as_the_server_does(charts: Mapping[str, Chart]) -> None:
    def asked(name: str, component: str) -> Mapping[str, Any]:
        probe: Mapping[str, Any] = charts[name].pod(component).container["readinessProbe"]
        return probe

    for component in ("ingest", "dispatcher"):
        assert asked("behind a gateway", component)["httpGet"] == {
            "path": "/health/ready",
            "port": "http",
            "scheme": "HTTP",
        }
        assert asked("with TLS", component)["httpGet"]["scheme"] == "HTTPS"
        assert "tcpSocket" in asked("everything", component), "a probe has no client certificate"


# Migration


def test_the_schema_comes_first_by_a_hook_that_needs_nothing_else(plain: Chart, full: Chart) -> None:
    job, config = plain.one("Job", "migrate"), plain.one("ConfigMap", "migrate")
    for each, weight in ((config, "-1"), (job, "0")):
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert each["metadata"]["annotations"]["helm.sh/hook-weight"] == weight
    pod = plain.pod("migrate")
    assert pod.command[:2] == ["ringtime", "migrate"]
    assert "serviceAccountName" not in pod.spec
    mine = {each["configMap"]["name"] for each in full.pod("migrate").spec["volumes"] if "configMap" in each}
    assert mine == {f"{NAME}-migrate"}
    assert json.loads(pod.config()) == json.loads(plain.pod("ingest").config())


def test_the_migration_may_be_a_plain_job_or_none(helm: str, charts: Mapping[str, Chart]) -> None:
    (job,) = charts["a plain job"].all("Job")
    assert "annotations" not in job["metadata"]
    waves = {"migration": {"hook": False, "annotations": {"argocd.argoproj.io/sync-wave": "-1"}}}
    (job,) = render(helm, BEHIND_GATEWAY, waves).all("Job")
    assert job["metadata"]["annotations"] == {"argocd.argoproj.io/sync-wave": "-1"}
    assert render(helm, BEHIND_GATEWAY, {"migration": {"enabled": False}}).all("Job") == []


# Scaling


def test_a_plain_job_is_another_one_once_anything_changes(helm: str) -> None:
    """Kubernetes refuses to change a Job, and `helm template` calls every revision the first."""

    def name(*values: Values) -> str:
        (job,) = render(helm, BEHIND_GATEWAY, {"migration": {"hook": False}}, *values).all("Job")
        found: str = job["metadata"]["name"]
        assert len(found) <= 63
        return found

    others: list[Values] = [
        {"image": {"tag": "next"}},
        {"settings": {"cassandra": {"keyspace": "other"}}},
        {"migration": {"backoffLimit": 1}},
        {"fullnameOverride": "r" * 60},
    ]
    assert len({name(), *map(name, others)}) == 1 + len(others)
    assert name() == name({"web": {"replicas": 2}}), "it has nothing to do with it"


def test_dispatchers_grow_with_what_is_overdue_and_before_a_burst(full: Chart) -> None:
    assert "replicas" not in full.workload("dispatcher")["spec"]
    scaled = full.one("ScaledObject", "dispatcher")["spec"]
    assert scaled["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": f"{NAME}-dispatcher",
    }
    overdue, forecast = scaled["triggers"]
    assert (overdue["metricType"], overdue["metadata"]["threshold"]) == ("Value", "5")
    assert overdue["metadata"]["query"] == 'max(ringtime_oldest_due_age_seconds{job="ringtime-rt"})'
    assert (forecast["metricType"], forecast["metadata"]["threshold"]) == ("AverageValue", "150000")
    assert forecast["metadata"]["query"] == 'max(ringtime_forecast_due_rows{job="ringtime-rt", minutes="10"})'
    assert {each["authenticationRef"]["name"] for each in scaled["triggers"]} == {"prometheus"}
    assert {each["metadata"]["ignoreNullValues"] for each in scaled["triggers"]} == {"false"}
    assert "fallback" not in scaled, "KEDA takes none beside a trigger by Value"
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["policies"][0]["value"] == 1


def test_prometheus_takes_the_queries_it_is_scaled_by(full: Chart, tmp_path: Path) -> None:
    try:
        promtool = find_prometheus(abort=Event()).promtool
    except MissingPrerequisite as error:
        pytest.skip(str(error))
    triggers = full.one("ScaledObject", "dispatcher")["spec"]["triggers"]
    rules = [{"record": f"scaled:{each['name']}", "expr": each["metadata"]["query"]} for each in triggers]
    file = tmp_path / "scaled.json"
    file.write_text(json.dumps({"groups": [{"name": "scaled", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert "2 rules found" in done.stdout, done.stderr


def test_ingest_grows_with_its_processor(full: Chart, plain: Chart, tmp_path: Path) -> None:
    assert "replicas" not in full.workload("ingest")["spec"]
    scaler = full.one("HorizontalPodAutoscaler", "ingest")["spec"]
    assert scaler["scaleTargetRef"]["name"] == f"{NAME}-ingest"
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert full.pod("ingest").settings(tmp_path).limits.pods == scaler["minReplicas"] == 2
    assert plain.all("HorizontalPodAutoscaler") == []


def test_rates_are_shared_by_as_many_pods_as_there_are(helm: str, tmp_path: Path) -> None:
    assert (
        render(helm, BEHIND_GATEWAY, {"ingest": {"replicas": 5}}).pod("ingest").settings(tmp_path).limits.pods
        == 5
    )
    own = {"settings": {"limits": {"pods": 9}}}
    assert render(helm, BEHIND_GATEWAY, own).pod("ingest").settings(tmp_path).limits.pods == 9


# Monitoring


def test_prometheus_reads_every_process_with_the_token(full: Chart, plain: Chart, tmp_path: Path) -> None:
    assert plain.all("ServiceMonitor") == []
    monitor = full.one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    service = full.one("Service", "metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    endpoints = {each["port"]: each for each in monitor["spec"]["endpoints"]}
    settings = full.pod("ingest").settings(tmp_path)
    ports = {each["name"]: each["containerPort"] for each in full.pod("ingest").container["ports"]}
    assert endpoints.keys() == {each["name"] for each in service["spec"]["ports"]} == ports.keys() - {"http"}
    first = settings.metrics.port
    assert [ports["metrics"], ports["metrics-2"]] == [first + n for n in range(settings.ingest.workers)]
    for each in endpoints.values():
        assert (each["scheme"], each["authorization"]["credentials"]) == (
            "https",
            {"name": "metrics-token", "key": "token"},
        )
        assert each["tlsConfig"]["serverName"] == f"{NAME}-ingest.{NAMESPACE}.svc"
        assert each["relabelings"][0] == {
            "action": "replace",
            "targetLabel": "job",
            "replacement": "ringtime-rt",
        }


def test_a_deployment_is_a_scrape_job_of_its_own(helm: str) -> None:
    on = {
        "serviceMonitor": {"enabled": True, "job": "ringtime-cards"},
        "dispatcher": {"keda": {"enabled": True}},
    }
    chart = render(helm, BEHIND_GATEWAY, on)
    (endpoint,) = chart.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == "http"
    assert endpoint["relabelings"][0]["replacement"] == "ringtime-cards"
    queries = [
        each["metadata"]["query"] for each in chart.one("ScaledObject", "dispatcher")["spec"]["triggers"]
    ]
    assert all('job="ringtime-cards"' in each for each in queries)


def test_metrics_may_be_off(helm: str, tmp_path: Path) -> None:
    chart = render(helm, BEHIND_GATEWAY, {"metrics": {"enabled": False}})
    assert chart.pod("ingest").settings(tmp_path).metrics.port == 0
    assert [each["name"] for each in chart.pod("ingest").container["ports"]] == ["http"]
    assert f"{NAME}-metrics" not in {each["metadata"]["name"] for each in chart.all("Service")}


def test_alerts_and_dashboards_are_ours(full: Chart, plain: Chart) -> None:
    rules = full.one("PrometheusRule")["spec"]
    ours = RULES.read_text().replace("runbook_url: docs/", "runbook_url: https://example.org/ringtime/docs/")
    assert rules == yaml.safe_load(ours)
    shown = {
        name: text
        for each in full.all("ConfigMap")
        if "grafana_dashboard" in each["metadata"]["labels"]
        for name, text in each["data"].items()
    }
    assert {name: json.loads(text) for name, text in shown.items()} == {
        file.name: json.loads(file.read_text()) for file in DASHBOARDS.glob("*.json")
    }
    assert plain.all("PrometheusRule") == []
    assert {each["metadata"]["name"] for each in plain.all("ConfigMap")} == {NAME, f"{NAME}-migrate"}


# Network


def test_nobody_reaches_a_pod_but_at_its_ports(full: Chart, plain: Chart) -> None:
    assert plain.all("NetworkPolicy") == []
    policies = {
        each["metadata"]["name"].removeprefix(f"{NAME}-"): each["spec"] for each in full.all("NetworkPolicy")
    }
    assert policies.keys() == {"ingest", "dispatcher", "web", "migrate"}
    for component, spec in policies.items():
        labels = full.workload(component)["spec"]["template"]["metadata"]["labels"]
        assert spec["podSelector"]["matchLabels"].items() <= labels.items()
        assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert policies["migrate"]["ingress"] == []

    def ports(component: str, way: str) -> set[object]:
        return {port["port"] for rule in policies[component][way] for port in rule.get("ports", ())}

    assert ports("ingest", "ingress") == {"http", 9464, 9465}
    assert ports("web", "ingress") == {"http"}
    assert ports("ingest", "egress") == {53, 9042, 2379, 8080}
    assert ports("web", "egress") == {53, 8080}
    assert ports("migrate", "egress") == {53, 9042}
    assert {} in policies["dispatcher"]["egress"], "callbacks go where apps say"


def test_who_reaches_what_may_be_said(helm: str) -> None:
    def peer(name: str) -> list[Values]:
        return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]

    chart = render(
        helm,
        BEHIND_GATEWAY,
        {
            "networkPolicy": {
                "enabled": True,
                "apiFrom": peer("gateway"),
                "webFrom": peer("offices"),
                "metricsFrom": peer("monitoring"),
                "serversTo": peer("databases"),
                "extraEgress": [{"ports": [{"port": 4318}]}],
            }
        },
    )
    ingest, web = (chart.one("NetworkPolicy", name)["spec"] for name in ("ingest", "web"))
    api, metrics = ingest["ingress"]
    assert api["from"][0] == peer("gateway")[0]
    assert "podSelector" in api["from"][1], "the dashboard comes from this release"
    assert metrics["from"] == peer("monitoring")
    assert web["ingress"][0]["from"] == peer("offices")
    assert {"ports": [{"port": 4318}]} in ingest["egress"]
    assert peer("databases") in [each.get("to") for each in ingest["egress"]]


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://ringtime.example.org", 443), ("http://ringtime.lan/", 80), ("https://ringtime.lan:84/", 84)],
)
def test_the_dashboard_reaches_an_api_behind_a_gateway(helm: str, url: str, port: int) -> None:
    values = {"networkPolicy": {"enabled": True}, "web": {"apiUrl": url}}
    policy = render(helm, BEHIND_GATEWAY, values).one("NetworkPolicy", "web")
    assert {"ports": [{"port": port}]} in policy["spec"]["egress"]


def test_pods_of_a_long_name_can_be_made(helm: str) -> None:
    chart = render(helm, BEHIND_GATEWAY, {"fullnameOverride": "r" * 60})
    (found,) = chart.all("StatefulSet")
    assert len(found["metadata"]["name"]) <= 63 - len("-0123456789"), "it is in the label of its revision"


def test_an_account_of_its_own_or_one_that_is_there(helm: str, plain: Chart) -> None:
    assert plain.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert plain.pod("ingest").spec["serviceAccountName"] == NAME
    chart = render(helm, BEHIND_GATEWAY, {"serviceAccount": {"create": False, "name": "ours"}})
    assert chart.all("ServiceAccount") == []
    assert {_account(pod) for pod in chart.pods()} == {"ours", None}


def _account(pod: Pod) -> str | None:
    account: str | None = pod.spec.get("serviceAccountName")
    return account


def test_other_settings_roll_the_pods(helm: str, plain: Chart) -> None:
    def sums(chart: Chart) -> set[str]:
        return {
            chart.workload(each)["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for each in ("ingest", "dispatcher", "web")
        }

    other = render(helm, BEHIND_GATEWAY, {"settings": {"dispatch": {"tick_ms": 100}}})
    assert len(sums(plain)) == len(sums(other)) == 1
    assert sums(plain) != sums(other)
