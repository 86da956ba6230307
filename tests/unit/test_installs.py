"""What each install holds, and what it says when it is asked for more than that.

Wheels are built and unpacked without a network; what they need is taken from this environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from contextlib import closing
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from tests.harness.server import ServerProcess, serving

from ringtime import Ringtime
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


def build_wheel(project: Path, into: Path) -> Path:
    """Return the wheel of one of the projects of this repository; made without a network."""
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into)]
    subprocess.run(argv, cwd=project, check=True, capture_output=True)
    (wheel,) = into.glob("*.whl")
    return wheel


def packages_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    return {top for top in tops if not top.endswith(".dist-info")}


def test_the_wheel_holds_the_product_and_no_launcher_of_servers(tmp_path: Path) -> None:
    assert packages_in(build_wheel(ROOT, tmp_path / "product")) == {
        "ringtime",
        "ringtime_client",
        "ringtime_dispatcher",
        "ringtime_ingest",
        "ringtime_ringctl",
        "ringtime_shared",
        "ringtime_web",
    }
    assert packages_in(build_wheel(ROOT / "infra", tmp_path / "launcher")) == {"ringtime_local"}


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "client", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def client_python(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment that holds the client, what its wheel needs, and no more."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(client_wheel) as archive:
        archive.extractall(site)
    for name in packages_needed(client_wheel):
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), site / file)
    return folder / "bin" / "python"


def packages_needed(wheel: Path) -> set[str]:
    """Return what pip would install with a wheel, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())
    asked, needed = list(told.get_all("Requires-Dist", [])), set[str]()
    while asked:
        name, _, marker = asked.pop().partition(";")
        name = re.split(r"[^A-Za-z0-9_.-]", name.strip())[0]
        if "extra ==" not in marker and name not in needed:
            needed.add(name)
            asked += distribution(name).requires or ()
    return needed


def test_a_client_needs_four_packages_with_itself(client_wheel: Path) -> None:
    assert packages_needed(client_wheel) == {"msgspec", "orjson", "pyreqwest"}
    assert packages_in(client_wheel) == {"ringtime_client", "ringtime_shared"}


def test_the_projects_are_of_one_version() -> None:
    projects = [tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"] for each in PROJECTS]
    assert len({project["version"] for project in projects}) == 1
    launcher = projects[-1]
    assert launcher["dependencies"] == [f"ringtime[cluster,kafka]=={launcher['version']}"]


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
