"""The move from goscheduler: all is here once, by its old ids, though the import is killed twice.

    RINGTIME_FAULTS=long pytest -m "" -s tests/e2e/test_goscheduler_import.py

runs it at full size and says what it took.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid1, uuid4

import pytest

from ringtime_client import RingtimeClient, Status
from ringtime_local import CassandraServer
from ringtime_shared.errors import NotFound
from tests.e2e.conftest import wait_blocking
from tests.harness.goscheduler import Filed, OldScheduler, spread
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG
from tests.harness.server import serving
from tests.service.cql import cql_session

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]
SCHEDULES, CRONS, APPS = (10_000, 200, 50) if IS_LONG else (600, 20, 8)
MOST_S = 60.0
KILLED_AFTER = (6, 12) if IS_LONG else (1, 1)  #: requests
BIN = Path(sys.executable).parent
DAY_S = 86_400


class Old:
    """A goscheduler with things to carry, and some that cannot be."""

    def __init__(self, tables: OldScheduler) -> None:
        self.tables = tables
        self.apps = [f"old-{n}-{uuid4().hex[:6]}" for n in range(APPS)]
        now_s = int(time.time())
        self.schedules = spread(SCHEDULES, self.apps, now_s + 2 * 3_600, now_s + 20 * DAY_S)
        self.crons = [
            Filed(app_id=self.apps[n % APPS], expression=f"{n % 60} {n % 24} * * *") for n in range(CRONS)
        ]
        self.deleted = Filed(app_id=self.apps[0], expression="* * * * *", status="DELETED")
        both = Filed(app_id=self.apps[0], expression="0 0 13 * FRI")
        at_s, app_id = now_s + DAY_S, self.apps[0]
        self.refused = [
            Filed(app_id=app_id, at_s=at_s, kind="airbus", details='{"eventName": "x"}'),
            Filed(app_id=app_id, at_s=at_s, payload="x" * 40_000),
            Filed(app_id=app_id, at_s=at_s, details="no json"),
            Filed(app_id=app_id, at_s=now_s + 4_000 * DAY_S),
            Filed(app_id="nobodys", at_s=at_s),
        ]
        self.runs = [Filed(app_id=app_id, at_s=at_s + n, parent=self.crons[0].schedule_id) for n in range(5)]
        self.past = [Filed(app_id=app_id, at_s=now_s - 3_600 - n) for n in range(7)]
        for n, each in enumerate(self.apps):
            given = {"payloadSize": 2_000, "httpTimeout": 0} if n % 2 else None
            tables.add_app(each, partitions=1 + n % 7, active=n != APPS - 1, configuration=given)
        tables.add_app("maxConfig", partitions=0, active=False, configuration={"payloadSize": 4_096})
        tables.add([*self.schedules, *self.refused, *self.runs, *self.past])
        tables.add_crons([*self.crons, self.deleted, both])


@pytest.fixture(scope="module")
def old(cassandra_server: CassandraServer) -> Iterator[Old]:
    with cql_session(cassandra_server) as session:
        tables = OldScheduler(session, f"old_{uuid4().hex[:8]}")
        yield Old(tables)
        tables.drop()


class Import:
    """The command, as an operator runs it."""

    def __init__(self, server: CassandraServer, old: Old, base: str) -> None:
        self._argv = [
            *(str(BIN / "ringtime"), "import", "goscheduler", "--json", "--api", base),
            *("--contact-point", server.contact_points[0], "--port", str(server.port)),
            *("--schedules-keyspace", old.tables.schedules, "--cluster-keyspace", old.tables.cluster),
        ]
        self._client = RingtimeClient(base)
        self.took_s = 0.0
        self._begun_cpu_s = _children_s()

    @property
    def cpu_s(self) -> float:
        """Processor time of the commands that have ended."""
        return _children_s() - self._begun_cpu_s

    def run(self, *flags: str, code: int = 0) -> Any:
        """Return what it says at its end."""
        begun_s = time.monotonic()
        done = subprocess.run([*self._argv, *flags], capture_output=True, text=True, check=False, timeout=300)
        self.took_s += time.monotonic() - begun_s
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def kill_after(self, requests: int) -> None:
        """Kill it as soon as so many requests of it have come in."""
        begun_s, before = time.monotonic(), self._requests()
        process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while self._requests() < before + requests:
                assert process.poll() is None, "it was over before it could be killed"
                time.sleep(0.05)  # the server has other things to do
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self.took_s += time.monotonic() - begun_s

    def _requests(self) -> int:
        return len(self._client.list_audit(action="imports create", size=1_000).entries)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def on_folder(folder: Path, server: CassandraServer) -> Iterator[str]:
    with serving(folder) as running:
        yield running.base


@contextmanager
def on_cassandra(folder: Path, server: CassandraServer) -> Iterator[str]:
    """Run one ingest pod on a keyspace of its own."""
    environ = os.environ | {
        "RINGTIME_CASSANDRA_CONTACT_POINTS": ",".join(server.contact_points),
        "RINGTIME_CASSANDRA_PORT": str(server.port),
        "RINGTIME_CASSANDRA_KEYSPACE": f"new_{uuid4().hex[:8]}",
        "RINGTIME_ACCESS_KEYS": "off",
        "RINGTIME_EGRESS_ALLOW": "127.0.0.1",
        "RINGTIME_EGRESS_PORTS": "1-65535",
    }
    subprocess.run([BIN / "ringtime", "migrate"], env=environ, check=True, capture_output=True)
    argv = [str(BIN / "ringtime-ingest"), "--port", "0"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdout is not None
        try:
            line = next(line for line in iter(pod.stdout.readline, "") if "http://" in line)
            yield line[line.index("http://") :].split()[0].removesuffix("/goscheduler")
        finally:
            pod.terminate()


@pytest.mark.parametrize("target", [on_folder, on_cassandra])
def test_all_is_there_once_though_the_import_is_killed_twice(
    old: Old, target: Any, tmp_path: Path, cassandra_server: CassandraServer
) -> None:
    with target(tmp_path, cassandra_server) as base, RingtimeClient(base) as client:
        importing = Import(cassandra_server, old, base)
        plan = importing.run("--plan")
        assert plan["total"]["created"] == SCHEDULES + CRONS
        assert len(plan["registered"]) == APPS
        assert not client.list_apps()
        importing.took_s = 0.0
        for requests in KILLED_AFTER:
            importing.kill_after(requests)
        told = importing.run()
        took_s, used_s = importing.took_s, importing.cpu_s
        assert told["compared"] == {"found": SCHEDULES + CRONS, "missing": 0}
        total = told["total"]
        assert total["created"] + total["there"] == SCHEDULES + CRONS
        assert total["there"] > 0
        assert (total["past"], total["runs"], total["deleted"], total["failed"]) == (7, 5, 1, 0)
        assert total["refused"] == len(old.refused) + 1
        again = importing.run()
        assert (again["total"]["created"], again["total"]["there"]) == (0, SCHEDULES + CRONS)
        hold_old_ids(client, old)
        hold_once(client, old)
        hold_cancels(client, old, importing)
        if IS_LONG:
            what = f"{SCHEDULES:,} + {CRONS} + {APPS}"
            used = f"{used_s:.1f} s of processor time of the command"
            print(f"\n{target.__name__}: {what} in {took_s:.1f} s, two kills among them; {used}, all runs")
            assert took_s <= MOST_S


def hold_old_ids(client: RingtimeClient, old: Old) -> None:
    """Every old id answers, with what goscheduler had under it."""
    for each in old.schedules:
        found = client.get_schedule(each.schedule_id)
        assert found.fire_time == datetime.fromtimestamp(each.at_s, UTC)
        assert (found.app_id, found.payload) == (each.app_id, each.payload)
    for cron in old.crons:
        definition = client.find_recurring(cron.schedule_id)
        assert definition.name == str(cron.schedule_id)
    for refused in (*old.refused, *old.runs, *old.past):
        with pytest.raises(NotFound):
            client.get_schedule(refused.schedule_id)


def hold_once(client: RingtimeClient, old: Old) -> None:
    """Nothing is there twice, and nothing that was not there."""
    start, found, crons = datetime.now(UTC), Counter[str](), 0
    for app_id in old.apps:
        token = ""
        while True:
            page = client.list_schedules(
                app_id, start=start, end=start + timedelta(days=30), size=1_000, token=token
            )
            found.update(dict(each.labels)["goscheduler-id"] for each in page.schedules if each.labels)
            token = page.token
            if not token:
                break
        crons += len(client.list_recurring(app_id, size=1_000).recurring)
    assert found == Counter(str(each.schedule_id) for each in old.schedules)
    assert crons == CRONS


def hold_cancels(client: RingtimeClient, old: Old, importing: Import) -> None:
    """What is cancelled by its old id stays so; a cron that goscheduler deletes ends here with the next
    import."""
    first, cron = old.schedules[0], old.crons[0]
    assert client.cancel_schedule(first.schedule_id).schedule.status is Status.DELETED
    old.tables.delete_cron(cron)
    told = importing.run()
    assert told["cancelled"] == {cron.app_id: 1}
    assert told["total"]["there"] == SCHEDULES + CRONS - 1
    assert client.get_schedule(first.schedule_id).status is Status.DELETED
    with pytest.raises(NotFound):
        client.get_recurring(cron.app_id, str(cron.schedule_id))
    old.tables.add_crons([cron])  # for the next target


def test_what_is_imported_is_sent_once_and_what_was_due_is_sent_at_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Also of an app that is deactivated: when it is activated. Imported again meanwhile, it stays one."""
    at_s = int(time.time())
    with serving(tmp_path) as server, RingtimeClient(server.base) as client:
        client.register_app("live", partitions=3)
        client.register_app("idle", partitions=3, active=False)
        items: list[dict[str, Any]] = [
            {
                "scheduleId": str(uuid1()),
                "appId": app_id,
                "payload": "{}",
                "scheduleTime": at_s + ahead_s,
                "callback": {"type": "http", "details": {"url": f"{receiver.url}/{n}", "method": "POST"}},
            }
            for n, (app_id, ahead_s) in enumerate(
                [("live", 2), ("live", -90), ("live", 60), ("idle", 1), ("idle", -90)]
            )
        ]
        made = _import(server.base, items)
        assert [each["effect"] for each in made] == ["created"] * 5
        for _ in range(3):
            again = _import(server.base, items)
            assert [each["effect"] for each in again] == ["there"] * 5
        ids = [each["scheduleId"] for each in made]
        wait_blocking(lambda: receiver.count() == 2, 60)
        client.activate_app("idle")
        wait_blocking(lambda: receiver.count() == 4, 60)
        _import(server.base, items)
        wait_blocking(lambda: client.get_schedule(items[4]["scheduleId"]).status is Status.SUCCESS, 60)
        found = receiver.arrivals()
        assert {each: len(found[each]) for each in found} == {ids[n]: 1 for n in (0, 1, 3, 4)}
        assert found[ids[0]][0].at_ms >= (at_s + 2) * 1_000


def _import(base: str, items: list[dict[str, Any]]) -> list[Any]:
    request = urllib.request.Request(
        f"{base.removesuffix('/goscheduler')}/goscheduler/imports",
        json.dumps({"schedules": items}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        results: list[Any] = json.loads(answer.read())["data"]["results"]
        return results
