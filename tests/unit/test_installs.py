"""What each install holds, and what it says when it is asked for more than that."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tests.harness.server import ServerProcess

from ringtime import Ringtime
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import KafkaSettings, Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
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
        argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
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
    }
    assert packages_in(build_wheel(ROOT / "infra", tmp_path / "launcher")) == {"ringtime_local"}
