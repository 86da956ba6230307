"""What each install holds, and what it says when it is asked for more than that.

Wheels are built and unpacked without a network; what they need is taken from this environment.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.harness.server import ServerProcess, serving
from tests.harness.wheelhouse import UV, build, install, pack, packages_needed, unpack

from ringtime import Ringtime
from ringtime_local.release import version_of
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import KafkaSettings, Settings

pytestmark = pytest.mark.slow  # it builds wheels and starts each command

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROJECTS = (".", "client", "infra")
EXTRAS = ("cassandra", "aetcd", "grpc", "aiokafka")  #: what `pip install ringtime` leaves out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of an install without extras: their packages cannot be imported in it."""
    folder = tmp_path_factory.mktemp("without")
    for name in EXTRAS:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name='{name}')\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def _run(words: list[str], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(
        argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize(
    "command", ["ringtime-ingest", "ringtime-dispatcher", "ringtime migrate", "ringctl ring"]
)
def test_a_missing_extra_is_one_line(command: str, plain: Mapping[str, str], tmp_path: Path) -> None:
    words = command.split()
    ended = _run(words, plain, tmp_path)
    line = f"{words[0]}: needs pip install 'ringtime[cluster]'\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", line)


def test_brokers_without_the_kafka_extra_are_one_line(plain: Mapping[str, str], tmp_path: Path) -> None:
    brokers = {**plain, "RINGTIME_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    ended = _run(["ringtime", "serve", "--port", "0", "--data", "data"], brokers, tmp_path)
    *_, line = ended.stderr.splitlines()
    assert line == (
        "Error: kafka.bootstrap is set, and a callback to Kafka needs pip install 'ringtime[kafka]'"
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def test_spans_without_the_otel_extra_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "RINGTIME_TRACING_ENABLED": "true"}
    ended = _run(["ringtime", "serve", "--port", "0", "--data", "data"], environment, tmp_path)
    *_, line = ended.stderr.splitlines()
    assert line == "Error: tracing.enabled needs pip install 'ringtime[otel]'"
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


async def test_the_library_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Settings(kafka=KafkaSettings(bootstrap=("127.0.0.1:9",)))
    monkeypatch.setitem(sys.modules, "aiokafka", None)  # it cannot be imported any more
    for name in [name for name in sys.modules if name.startswith("ringtime_dispatcher.callbacks.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StartupError, match=r"ringtime\[kafka\]"):
        async with Ringtime(settings=brokers):
            pass


def test_one_process_and_its_operator_need_no_extra(plain: Mapping[str, str], tmp_path: Path) -> None:
    with closing(ServerProcess(tmp_path / "data", environment=plain)) as server:
        server.start()
        ended = _run(["ringctl", "--data", str(server.data), "doctor"], plain, tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")


def packages_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    return {top for top in tops if not top.endswith(".dist-info")}


def test_the_wheel_holds_the_product_and_no_launcher_of_servers(tmp_path: Path) -> None:
    assert packages_in(build(ROOT, tmp_path / "product")) == {
        "ringtime",
        "ringtime_client",
        "ringtime_dispatcher",
        "ringtime_ingest",
        "ringtime_ringctl",
        "ringtime_shared",
        "ringtime_web",
    }
    assert packages_in(build(ROOT / "infra", tmp_path / "launcher")) == {"ringtime_local"}


class Built(NamedTuple):
    """A project, built as for a release."""

    wheel: Path  #: made of the source archive, as others would make it
    archive: Path
    programs: Path  #: of an environment that holds the wheel, what it needs, and no more


def _release(project: Path, folder: Path) -> Built:
    archive = build(project, folder / "archive", "sdist")
    with tarfile.open(archive) as tar:
        unpack(tar, folder / "source")
    (source,) = (folder / "source").iterdir()
    wheel = build(source, folder / "wheel")
    wheels = folder / "wheels"
    wheels.mkdir()
    pack(packages_needed(wheel), wheels)
    shutil.copy(wheel, wheels)
    return Built(wheel, archive, install(wheel, wheels, folder / "venv"))


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _release(ROOT, tmp_path_factory.mktemp("product"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _release(ROOT / "client", tmp_path_factory.mktemp("client"))


@pytest.fixture
def client_wheel(client: Built) -> Path:
    return client.wheel


@pytest.fixture
def client_python(client: Built) -> Path:
    return client.programs / "python"


@pytest.mark.parametrize("name", ["product", "client"])
def test_a_source_archive_holds_what_the_wheel_is_made_of(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    built: Built = request.getfixturevalue(name)
    of_tree = build(ROOT if name == "product" else ROOT / name, tmp_path)
    assert of_tree.name == built.wheel.name
    assert _contents(of_tree) == _contents(built.wheel)
    assert built.archive.stat().st_size < 3_000_000, "tests and tools stay out of it"


def _contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_commands_of_an_install_say_its_version(product: Built) -> None:
    for command in ("ringtime", "ringctl", "ringtime-web"):
        argv = [str(product.programs / command), "--version"]
        told = subprocess.run(argv, env=_clean(), check=True, capture_output=True, text=True).stdout
        assert told == f"{command}, version {version_of()}\n"


def test_a_pod_needs_its_extra_in_an_install_without(product: Built) -> None:
    argv = [str(product.programs / "ringtime-ingest"), "--version"]
    ended = subprocess.run(argv, env=_clean(), capture_output=True, text=True, check=False)
    assert ended.stderr == "ringtime-ingest: needs pip install 'ringtime[cluster]'\n"


def test_a_wheel_runs_without_being_installed(product: Built, tmp_path: Path) -> None:
    """What `pipx run --spec WHEEL ringtime serve` does, by uv, which is here; then the doctor beside it."""
    wheels = product.wheel.parent.parent / "wheels"
    offline = ["--offline", "--no-index", "--no-config", "--find-links", str(wheels)]
    tool = [str(UV), "tool", "run", "-q", *offline, "--from", str(product.wheel), "ringtime"]
    environment = {**_clean(), "UV_CACHE_DIR": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*tool, "serve", "--port", "0", "--data", "data"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as server:
        try:
            assert server.stdout is not None
            line = next(each for each in server.stdout if "listens on " in each)
            root = line.split("listens on ")[1].strip().removesuffix("/goscheduler")
            with urllib.request.urlopen(f"{root}/info", timeout=60) as answer:
                assert json.load(answer)["data"]["version"] == version_of()
            looked = subprocess.run(
                [product.programs / "ringtime", "doctor", "--data", "data", "--json"],
                cwd=tmp_path,
                env=_clean(),
                capture_output=True,
                text=True,
                check=False,
            )
            found = {each["check"]: each for each in json.loads(looked.stdout)["findings"]}
            assert found["server"]["found"].endswith("serves this folder")
            assert found["version"]["found"].startswith(f"Ringtime {version_of()} ")
            assert looked.returncode == 0, looked.stdout
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def _clean() -> dict[str, str]:
    """Return this environment without what leads to the packages of the repository."""
    leading = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in leading}


def test_a_client_needs_four_packages_with_itself(client_wheel: Path) -> None:
    assert packages_needed(client_wheel) == {"msgspec", "orjson", "pyreqwest"}
    assert packages_in(client_wheel) == {"ringtime_client", "ringtime_shared"}


def test_the_client_asks_for_no_other_versions_than_the_product() -> None:
    product, client, _ = (
        set(tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"]["dependencies"])
        for each in PROJECTS
    )
    assert client < product


def test_importing_the_client_loads_itself_and_nothing_heavy(client_python: Path, client_wheel: Path) -> None:
    """What its wheel holds is what it loads: a module that it does not need any more is left out there."""
    script = "import sys, ringtime_client; print(*sys.modules)"
    loaded = subprocess.run(
        [str(client_python), "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("ringtime")}
    with zipfile.ZipFile(client_wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith(".py")]
    assert ours == {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    heavy = {"starlette", "uvicorn", "uvloop", "click", "idna", "sqlite3", *EXTRAS}
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("name", "absent"), [("ringtime_client", {"starlette", *EXTRAS}), ("ringtime.client", set(EXTRAS))]
)
def test_the_client_of_the_whole_install_loads_no_driver(name: str, absent: set[str]) -> None:
    argv = [sys.executable, "-X", "importtime", "-c", f"import {name}"]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.splitlines()}
    assert "ringtime_client" in loaded
    assert absent.isdisjoint(loaded)


CREATE = """
import sys
from datetime import timedelta
from ringtime_client import HttpCallbackDetails, RingtimeClient

with RingtimeClient(sys.argv[1]) as client:
    client.register_app("shop", partitions=2)
    hook = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
    made = client.create_schedule("shop", payload="{}", delay=timedelta(hours=1), callback=hook)
    print(client.get_schedule(made.schedule_id).status)
"""


def test_an_install_of_the_client_alone_creates_a_schedule(client_python: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        ended = subprocess.run(
            [str(client_python), "-c", CREATE, server.base], capture_output=True, text=True, check=False
        )
    assert ended.stderr == ""
    assert ended.stdout == "SCHEDULED\n"
