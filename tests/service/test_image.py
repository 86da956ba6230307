"""The image, and the deployment that is made of it, without Docker.

`hadolint` judges the Dockerfile, the library of Compose reads its file, and the steps of the Dockerfile that
install Ringtime are run as they stand, by a user without rights, on what the image is made from.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.harness.chart import image_environment

from ringtime_local import MissingPrerequisite, sbom
from ringtime_local.compose import compose_config
from ringtime_local.ports import take_ports
from ringtime_shared.settings import load_settings

pytestmark = [pytest.mark.service, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = INFRA / "Dockerfile"
NOBODY = 65_534
#: How this machine reaches packages.
_OF_DOWNLOADS = re.compile(r"(PIP|UV|SSL|REQUESTS)_|\w+_proxy$", re.IGNORECASE)


def _sent() -> list[Path]:
    """Return what the image is made from, as its ignore file has it."""
    lines = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    return [ROOT / line[1:] for line in lines if line.startswith("!")]


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    judged = subprocess.run(
        [Path(sys.executable).parent / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout) == (0, "")


def test_the_image_is_made_from_all_packages_and_of_the_releases_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {ROOT / package for package in packages} <= set(_sent())
    tested = _pins(ROOT / "requirements.lock")
    for lock in (INFRA / "image.lock", INFRA / "build.lock"):
        pins = _pins(lock)
        assert pins.items() <= tested.items(), f"run `make lock`: {lock.name}"
    wanted = {re.split(r"[>=~<\[ ]", each)[0] for each in project["project"]["dependencies"]}
    assert wanted <= _pins(INFRA / "image.lock").keys(), "run `make lock`"


def test_the_image_says_where_the_list_of_what_it_holds_is() -> None:
    assert sbom.FILE.read_text() == sbom.bill(sbom.LOCK.read_text()), "run `make lock`"
    listed = json.loads(sbom.FILE.read_text())["components"]
    assert {each["name"]: each["version"] for each in listed} == _pins(INFRA / "image.lock")
    (label,) = re.findall(r'sbom="(\S+)"', DOCKERFILE.read_text())
    assert f"COPY infra/image.cdx.json {label}\n" in DOCKERFILE.read_text()


@pytest.fixture(scope="module")
def services() -> Mapping[str, Mapping[str, Any]]:
    try:
        config = compose_config(INFRA / "compose.yaml", abort=Event())
    except MissingPrerequisite as error:
        pytest.skip(str(error))
    found: Mapping[str, Mapping[str, Any]] = config["services"]
    return found


def test_compose_starts_what_a_deployment_needs(services: Mapping[str, Mapping[str, Any]]) -> None:
    ours = {name: each["command"][0] for name, each in services.items() if each["image"] == "ringtime"}
    assert sorted(ours.values()) == [
        "ringtime",
        *["ringtime-dispatcher"] * 3,
        *["ringtime-ingest"] * 2,
        "ringtime-web",
    ]
    assert services.keys() - ours.keys() == {"cassandra", "etcd", "kafka", "prometheus", "grafana"}
    for name in ours:
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])
    assert all(port["host_ip"] == "127.0.0.1" for each in services.values() for port in each.get("ports", ()))
    for each in services.values():
        for volume in each.get("volumes", ()):
            assert volume["type"] == "volume" or Path(volume["source"]).is_dir()


def test_compose_sets_what_the_pods_read(services: Mapping[str, Mapping[str, Any]], tmp_path: Path) -> None:
    nodes = set()
    for name, each in services.items():
        if each["image"] == "ringtime":
            settings = load_settings(None, image_environment() | each["environment"])
            assert not settings.embedded.data or name == "dashboard", "ringctl would open a folder"
            if each["command"] == ["ringtime-dispatcher"]:
                nodes.add(settings.node.name)
                assert settings.node.name == name
                assert settings.node.address.split(":")[0] == name
    assert len(nodes) == 3
    scraped = re.findall(r'"([a-z0-9-]+):9464"', (INFRA / "prometheus" / "prometheus.yml").read_text())
    measured = {
        name
        for name, each in services.items()
        if (each.get("environment") or {}).get("RINGTIME_METRICS_PORT") == "9464"
    }
    assert sorted(scraped) == sorted(measured - {"migrate"})
    provisioned = re.search(
        r"path: (\S+)", (INFRA / "grafana/provisioning/dashboards/ringtime.yml").read_text()
    )
    assert provisioned is not None
    assert provisioned[1] in {volume["target"] for volume in services["grafana"]["volumes"]}


@pytest.fixture
def bare() -> Iterator[Path]:
    """A folder of nobody's, with what the image is made from."""
    folder = Path(tempfile.mkdtemp(prefix="ringtime-image-"))
    try:
        for path in _sent():
            there = folder / "source" / path.relative_to(ROOT)
            there.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, there)
        for lock in (folder / "source" / "infra").glob("*.lock"):
            shutil.copy(lock, folder / "source")
        if os.geteuid() == 0:
            for each in (folder, *folder.rglob("*")):
                os.chown(each, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


def _as_nobody(*words: str) -> list[str]:
    if os.geteuid() != 0:
        return list(words)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", *words]


def _steps(folder: Path) -> list[str]:
    """Return the RUN lines of the stage that installs, with the folders of the image inside of this one."""
    stage = DOCKERFILE.read_text().split(" AS build\n")[1].split("\nFROM ")[0].replace("\\\n", " ")
    steps = re.findall(r"^RUN (.*)$", stage, re.MULTILINE)
    return [re.sub(r"(?<![\w.])/(opt|wheels)\b", rf"{shlex.quote(str(folder))}/\1", step) for step in steps]


@pytest.mark.timeout(300)
def test_the_steps_install_what_serves_as_a_user_without_rights(bare: Path) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists() or subprocess.run([python, "-m", "pip", "-V"], capture_output=True).returncode:
        pytest.skip("no /usr/bin/python3 with pip, as the image has one")
    (bare / "bin").mkdir()
    (bare / "bin" / "python").symlink_to(python)
    environment = {
        **{name: value for name, value in os.environ.items() if _OF_DOWNLOADS.match(name)},
        "PATH": f"{bare}/bin:/usr/bin:/bin",
        "HOME": str(bare),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    steps = _steps(bare)
    assert len(steps) == 2
    for step in steps:
        done = subprocess.run(
            _as_nobody("sh", "-ec", step),
            cwd=bare / "source",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    programs = bare / "opt" / "ringtime" / "bin"
    for command in ("ringtime", "ringtime-ingest", "ringtime-dispatcher", "ringtime-web", "ringctl"):
        assert (programs / command).exists()
    port = take_ports(1)[0]
    serving = subprocess.Popen(
        _as_nobody(str(programs / "ringtime"), "serve"),
        cwd=bare,
        env={**environment, "PORT": str(port), "RINGTIME_EMBEDDED_DATA": str(bare / "data")},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_live(serving, port)
    finally:
        serving.terminate()
        serving.wait(30)
    assert serving.returncode == 0


def _wait_live(serving: subprocess.Popen[bytes], port: int) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        assert serving.poll() is None, "it ended"
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError("it does not answer")
