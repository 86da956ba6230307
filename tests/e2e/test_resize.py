"""The partitions of an app, and the parts of the index, changed under load on the split deployment, with
ringctl, a dispatcher and an ingest pod in trouble.

Beside the ledgers of client and receiver, a watcher reads the store all the time: an acknowledged row whose
partition is not polled is a violation even if it would be fired later.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster
from ringtime_shared.buckets import bucket_of
from ringtime_shared.coordination.etcd import EtcdOperator
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.parts import Phase, group_of, part_of
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.stores.cassandra import CassandraStore
from tests.e2e.conftest import PATIENT, clustered, register_apps
from tests.harness.client import LoadClient
from tests.harness.ledger import Create, Verdict, judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, record

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(3_600)]

APP = "flex"
FIRST = 8  #: partitions at the beginning
RATE = 200.0 if IS_LONG else 100.0
LEAD_S = (1, 6)
DUE_S = 2.0  #: rows nearer than this may be on their way already
PER_KILL = 1_000  #: most duplicates for one dispatcher killed
LOOK_S = 0.5
BETWEEN_S = 8  #: load without a resize: two kills of a dispatcher in ten minutes, not in six


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers) -> Iterator[Cluster]:
    """Two ingest pods and three dispatchers. Rows are spread finely, so that a new partition is soon hit."""
    folder, ingest = tmp_path_factory.mktemp("resize"), {"chunk_rows": 5}
    with clustered(folder, own_servers, coordination=PATIENT, ingest=ingest) as running:
        yield running


class Flex:
    """The app, its load, and what the store says of it."""

    def __init__(
        self,
        cluster: Cluster,
        receiver: Receiver,
        clients: list[LoadClient],
        store: CassandraStore,
        etcd: EtcdOperator,
        others: Sequence[str],
    ) -> None:
        self.cluster = cluster
        self.load = Load(receiver, apps=[APP, *others], rng=Random(6))
        self.steps: list[dict[str, object]] = []
        self._receiver = receiver
        self._clients = clients
        self._store = store
        self._etcd = etcd
        self._found: list[str] = []
        self._looked = 0  # creates before this one are due
        self._is_over = False

    async def app(self) -> App:
        app = await self._store.fetch_app(APP)
        assert app is not None
        return app

    def begin(self) -> None:
        """Create at the rate, and watch."""
        work = [self._create(client) for client in self._clients]
        self._working = asyncio.gather(*work, self._watch())

    async def end(self) -> None:
        """Return when the last create is answered."""
        self._is_over = True
        await self._working

    async def _create(self, client: LoadClient) -> None:
        """Each second's creates are begun at their time, whatever became of those before."""
        share = RATE / len(self._clients)
        seconds: list[asyncio.Task[None]] = []
        while not self._is_over:
            seconds.append(
                asyncio.create_task(
                    self.load.run(client, per_s=share, seconds=1, lead_s=LEAD_S, cancels=0.02)
                )
            )
            await asyncio.sleep(1)
        await asyncio.gather(*seconds)

    async def _watch(self) -> None:
        while not self._is_over:
            app, now_ms = await self.app(), time.time() * 1_000
            for entry in self._upcoming(now_ms):
                place = _home(entry)
                if place.partition >= app.polled and await self._is_pending(entry, place):
                    # Read before the app may have changed, so look again at both.
                    polled = (await self.app()).polled
                    if place.partition >= polled and await self._is_pending(entry, place):
                        self._found.append(f"{entry.schedule_id} in {place.partition} of {polled}")
            await asyncio.sleep(LOOK_S)

    def _upcoming(self, now_ms: float) -> list[Create]:
        """Return the acknowledged creates that are not due yet; the others need not be looked at again."""
        known = self.load.creates
        while self._looked < len(known) and known[self._looked].fire_ms < now_ms - 30_000:
            self._looked += 1
        return [
            entry
            for entry in known[self._looked :]
            if entry.schedule_id is not None and entry.fire_ms > now_ms + DUE_S * 1_000
        ]

    async def _is_pending(self, entry: Create, place: Place) -> bool:
        row = await self._store.fetch_row(place, UUID(entry.schedule_id))
        return row is not None and row.is_live

    def start_ringctl(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command of ringctl."""
        config = self.cluster.folder / "ringtime.json"
        command = [
            sys.executable,
            "-m",
            "ringtime_ringctl.main",
            "--config",
            str(config),
            "--operator",
            "e2e",
        ]
        return subprocess.Popen(
            [*command, "--json", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def ringctl(self, *words: str) -> Any:
        """Run it to its end; return what it says."""
        process = self.start_ringctl(*words)
        output, errors = await asyncio.to_thread(process.communicate, timeout=300)
        assert process.returncode == 0, errors
        return json.loads(output)

    async def resize(self, quota: int, *, kill_after_s: float | None = None) -> None:
        """Resize; end ringctl after a while as `kill -9` does, and resume."""
        words = ["resize", APP, "--partitions", str(quota), "--apply", "--wait", "--timeout", "200"]
        begun_s = time.time()
        before = (await self.app()).writable
        if kill_after_s is not None:
            process = self.start_ringctl(*words)
            await asyncio.sleep(kill_after_s)
            process.kill()
            await asyncio.to_thread(process.communicate)
            if (await self.app()).resize is not None:
                words = ["resize", APP, "--resume", "--wait", "--timeout", "200"]
        assert (await self.ringctl(*words))["appId"] == APP
        app = await self.app()
        assert (app.writable, app.polled, app.resize) == (quota, quota, None)
        step: dict[str, object] = {"to": quota, "s": round(time.time() - begun_s, 1)}
        if quota > before:
            now_ms = int(time.time() * 1_000)
            begun = await self._store.fetch_audit(int(begun_s * 1_000), now_ms, 100)
            noted_s = min(entry.at_ms for entry in begun if entry.action == "resize begin") / 1_000
            step["effect_s"] = round(await self.until_used(before, noted_s), 1)
        self.steps.append(step)
        await self.check_claims()

    async def file(self, count: int, ahead_s: tuple[float, float]) -> list[Create]:
        """Create so many at once, due evenly in that time ahead, beside the load and not before its turn."""
        first_s, last_s = (time.time() + each for each in ahead_s)
        step_s = (last_s - first_s) / count
        async with LoadClient(self.cluster.base, 16) as client:
            return await asyncio.gather(
                *(self.load.create(client, int((first_s + n * step_s) * 1_000)) for n in range(count))
            )

    async def change_parts(self, count: int, *, kill_in: Phase) -> float:
        """Change them; end ringctl in that phase as `kill -9` does, have another go on; return seconds."""
        begun_s = time.monotonic()
        process = self.start_ringctl("parts", str(count), "--apply")
        while (change := (await self._store.fetch_parts()).change) is None or change.phase is not kill_in:
            assert process.poll() is None, "it was to be killed while it works"
            await asyncio.sleep(0.02)
        process.kill()
        await asyncio.to_thread(process.communicate)
        told = await self.ringctl("parts", "--resume")
        assert (told["written"], told["read"]) == (count, [count])
        return time.monotonic() - begun_s

    async def check_index(self, entries: Sequence[Create], parts: int) -> None:
        """Assert that each of these is found where those who need it look now, and cancel it."""
        names = {app.number: app.app_id for app in await self._store.fetch_apps()}
        wanted: dict[tuple[int, int], set[Instance]] = defaultdict(set)  # by part and bucket
        for entry in entries:
            assert entry.schedule_id is not None
            found = unpack_id(UUID(entry.schedule_id))
            instance = Instance(names[found.app_number], found.partition)
            wanted[part_of(group_of(str(instance)), parts), bucket_of(found.slot_ms)].add(instance)
        for (part, bucket), instances in wanted.items():
            groups = {group_of(str(each)) for each in instances}
            index = await self._store.fetch_index(bucket, bucket, groups)
            assert instances <= {each.instance for each in index}, f"part {part} of {parts}, minute {bucket}"
        async with LoadClient(self.cluster.base, 16) as client:
            await asyncio.gather(*(self.load.cancel(client, entry) for entry in entries))

    async def until_used(self, before: int, since_s: float) -> float:
        """Return how long after `since_s`, epoch s, a create was first acknowledged in a new partition."""
        until_s = time.monotonic() + 90
        while time.monotonic() < until_s:
            used_ms = [
                entry.acked_ms
                for entry in self.load.creates
                if entry.acked_ms > since_s * 1_000 and _home(entry).partition >= before
            ]
            if used_ms:
                return min(used_ms) / 1_000 - since_s
            await asyncio.sleep(0.1)
        raise AssertionError("no create came into the new partitions")

    async def check_claims(self) -> None:
        """Assert that exactly the polled poller instances are owned, at once or a moment later."""
        wanted = {Instance(APP, partition) for partition in range((await self.app()).polled)}
        for _ in range(200):
            view = await self._etcd.fetch_view()
            owned = {each for each in view.claims if each.app_id == APP}
            if owned == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"owned {sorted(owned)}, wanted {sorted(wanted)}")

    async def check_empty(self, most: int) -> None:
        """Assert that no row waits in the partitions that are polled no more."""
        app, now_ms = await self.app(), time.time() * 1_000
        entries = [
            entry
            for entry in await self._store.fetch_app_buckets(
                APP, int(now_ms // 60_000) - 90, int(now_ms // 60_000) + 60
            )
            if app.polled <= entry.instance.partition < most
        ]
        assert entries, "the test has used them"
        assert sum(await self._store.count_live(entries, 10_000)) == 0

    async def verdict(self, name: str, *, timeout_s: float = 90, **facts: Any) -> Verdict:
        """End, wait for what is still to come, judge, write it down; nothing may be lost, early, unpolled."""
        await self.end()
        await wait_for_deliveries(self._receiver, self.load.creates, timeout_s=timeout_s)
        verdict = judge(self.load.creates, self._receiver.arrivals())
        unanswered = sum(entry.schedule_id is None for entry in self.load.creates)
        shown = " ".join(f"{step['to']}:{step['s']}s" for step in self.steps)
        print(record(name, verdict, unanswered=unanswered, resizes=shown, **facts).stem, verdict, self.steps)
        assert verdict.broken() == []
        assert self._found == []
        return verdict


def _home(entry: Create) -> Place:
    parts = unpack_id(UUID(entry.schedule_id))
    return Place(APP, parts.partition, parts.slot_ms)


@asynccontextmanager
async def flexing(cluster: Cluster, receiver: Receiver, others: Sequence[str] = ()) -> AsyncIterator[Flex]:
    settings = _settings(cluster.folder / "ringtime.json")
    async with AsyncExitStack() as stack:
        pods = [pod for name, pod in cluster.pods.items() if name.startswith("ingest")]
        bases = [f"http://127.0.0.1:{pod.port}/goscheduler" for pod in pods]
        clients = [await stack.enter_async_context(LoadClient(base, 64)) for base in bases]
        body = {"appId": APP, "partitions": FIRST, "active": True}
        assert (await clients[0].request("POST", "/apps", body)).status in (200, 409)
        await register_apps(cluster.base, others, partitions=1)
        store = await CassandraStore.connect(settings.cassandra)
        stack.push_async_callback(store.close)
        etcd = EtcdOperator(settings.coordination)
        stack.push_async_callback(etcd.close)
        flex = Flex(cluster, receiver, clients, store, etcd, others)
        await flex.check_claims()
        flex.begin()
        try:
            yield flex
        finally:
            await flex.end()


def _settings(file: Path) -> Settings:
    return load_settings(file, {})


async def back_to(flex: Flex, quota: int) -> None:
    """What a test before may have left."""
    if (await flex.app()).writable != quota:
        await flex.ringctl("resize", APP, "--partitions", str(quota), "--apply", "--wait")


async def test_growing_and_shrinking_under_load(cluster: Cluster, receiver: Receiver) -> None:
    """The quick form: 8 -> 16 -> 4 -> 12, one ringctl killed while it grows and one while it shrinks."""
    async with flexing(cluster, receiver) as flex:
        await asyncio.sleep(2)
        await flex.resize(16, kill_after_s=1.0)
        await flex.resize(4, kill_after_s=4.0)
        await flex.resize(12)
        await asyncio.sleep(2)
        verdict = await flex.verdict("resize", kills="2 x ringctl")
        await flex.check_empty(16)
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.99) <= 3_000
    assert flex.steps[2]["effect_s"] <= 5  # type: ignore[operator]


@pytest.mark.skipif(not IS_LONG, reason="RINGTIME_FAULTS=long")
async def test_ten_cycles_with_kills(cluster: Cluster, receiver: Receiver) -> None:
    """8 -> 16 -> 4 -> 12, ten times; every third resize loses its ringctl, and two a dispatcher."""
    rng, kills, resizes = Random(60), 0, 0
    async with flexing(cluster, receiver) as flex:
        await back_to(flex, FIRST)
        for cycle in range(10):
            for quota in (16, 4, 12):
                resizes += 1
                kill_after_s = rng.uniform(0.3, 12) if resizes % 3 == 0 else None
                resizing = asyncio.create_task(flex.resize(quota, kill_after_s=kill_after_s))
                if cycle in (3, 7) and quota == 4:
                    kills += 1
                    await asyncio.sleep(rng.uniform(1, 8))
                    await _restart(cluster, f"dispatcher-{1 + kills}")
                await resizing
                await asyncio.sleep(BETWEEN_S)
        verdict = await flex.verdict("resize-ten-cycles", resizes_in_all=resizes, dispatchers_killed=kills)
        await flex.check_empty(16)
    assert verdict.duplicates <= kills * PER_KILL
    assert verdict.lag_ms(0.99) <= 3_000


@pytest.mark.skipif(not IS_LONG, reason="RINGTIME_FAULTS=long")
async def test_an_ingest_pod_frozen_over_a_shrink_and_its_release(
    cluster: Cluster, receiver: Receiver
) -> None:
    """It wakes with a map that is 30 s old, and with requests under way."""
    async with flexing(cluster, receiver) as flex:
        await back_to(flex, 16)
        pod = cluster.pods["ingest-2"].process
        for _ in range(3):
            pod.signal(signal.SIGSTOP)
            frozen_s = time.monotonic()
            await flex.resize(4)
            released_s = time.monotonic() - frozen_s
            await asyncio.sleep(max(30 - released_s, 0))
            pod.signal(signal.SIGCONT)
            await asyncio.sleep(5)
            await flex.resize(16)
        verdict = await flex.verdict("resize-frozen-ingest", frozen_s=30, released_after_s=round(released_s))
    assert verdict.duplicates == 0


async def test_the_parts_of_the_index_changed_under_load(cluster: Cluster, receiver: Receiver) -> None:
    """4 -> 64 while many apps create, near and far ahead; ringctl is killed, and another one goes on."""
    apps = [f"many-{number}" for number in range(2_000 if IS_LONG else 50)]
    near, far = (3_000, 10_000) if IS_LONG else (100, 100)
    async with flexing(cluster, receiver, apps) as flex:
        # What is due once the old parts are read no more, and what is due so late that the index has to do.
        await flex.file(near, (10, 180) if IS_LONG else (5, 35))
        ahead = await flex.file(far, (400, 1_000))
        took_s = await flex.change_parts(64, kill_in=Phase.COPYING if IS_LONG else Phase.WRITING)
        await flex.check_index(ahead, 64)
        verdict = await flex.verdict(
            "parts-4-to-64", timeout_s=200, apps=len(apps), took_s=round(took_s, 1), kills="ringctl"
        )
    assert [entry.status for entry in flex.load.creates if entry.schedule_id is None] == []
    assert verdict.duplicates == 0
    assert verdict.lag_ms(1) <= (1_000 if IS_LONG else 3_000)  # other stages have the cores, too


async def _restart(cluster: Cluster, name: str) -> None:
    """Kill a pod and start it again."""
    await asyncio.to_thread(cluster.pods[name].process.kill)
    await asyncio.sleep(2)
    pod: Any = cluster.start_pod(name)
    await asyncio.to_thread(pod.wait_ready, time.monotonic() + 90)
