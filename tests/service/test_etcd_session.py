"""The etcd driver and what etcd, the network and other processes may do to it."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aetcd
import pytest
from aetcd import rpc
from tests.service.tcp_proxy import tcp_proxy

from ringtime_local import Authority, EtcdOptions, EtcdServer, LocalServers
from ringtime_local.ports import take_ports
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession, RaiseEra, fetch_identity
from ringtime_shared.coordination.etcd.lease import KeptLease
from ringtime_shared.coordination.etcd.watching import Watching
from ringtime_shared.coordination.protocol import Claim, Member, View
from ringtime_shared.errors import LeaseLost, OutcomeUnknown, StartupError
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import CoordinationSettings

pytestmark = pytest.mark.service

CLOCK = SystemClock()
A0, A1, A2 = (Instance("a", number) for number in range(3))
_prefixes = itertools.count()
#: Time to live, in seconds, of a lease that nothing is to end: no restart of the server, which takes 2 s and
#: on a busy machine 4 (it elects itself, and gRPC waits before it connects again), and no such machine alone.
LONG_S = 12


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A server of this module's own: it is killed and frozen."""
    with LocalServers(tmp_path_factory.mktemp("faults"), cassandra=False, kafka=False, own=True) as servers:
        yield servers.etcd


def settings_for(
    *endpoints: str, ttl_s: int = LONG_S, margin_ms: int = 1_000, **more: Any
) -> CoordinationSettings:
    more.setdefault("prefix", f"/faults/{next(_prefixes)}")
    return CoordinationSettings(endpoints=endpoints, ttl_s=ttl_s, margin_ms=margin_ms, **more)


@asynccontextmanager
async def joined(
    settings: CoordinationSettings, node: str = "n1", raise_era: RaiseEra | None = None
) -> AsyncIterator[EtcdSession]:
    session = EtcdSession(settings, CLOCK, raise_era=raise_era)
    try:
        await session.join(Member(node=node, address=f"{node}:1"))
        yield session
    finally:
        await session.close()


async def until(session: EtcdSession, is_so: Callable[[View], bool], patience_s: float = 60) -> View:
    async with asyncio.timeout(patience_s):
        while not is_so(session.view()):
            await session.wait_for_change()
    return session.view()


async def until_so(is_so: Callable[[], bool], patience_s: float = 60) -> None:
    async with asyncio.timeout(patience_s):
        while not is_so():  # noqa: ASYNC110 - trust passes by time alone, which sets no event
            await asyncio.sleep(0.02)


async def until_renewed(session: EtcdSession) -> None:
    """Wait for a renewal that begins after now."""
    now_ms = CLOCK.boot_ms()
    left_ms = (LONG_S - 1) * 1_000  # what trust is left at the moment of a renewal: less the margin
    await until_so(lambda: session.trusted_until_ms() > now_ms + left_ms or session.is_lost())
    assert not session.is_lost()


def is_trusted(session: EtcdSession) -> bool:
    return CLOCK.boot_ms() < session.trusted_until_ms()


async def in_thread(call: Callable[..., object], **arguments: object) -> None:
    await asyncio.to_thread(call, **arguments)


class TestServerFaults:
    async def test_a_crash_of_etcd_keeps_session_claims_and_view(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=LONG_S)
        async with joined(settings, "n1") as one, joined(settings, "n2") as two:
            won = await one.claim([A0, A1])
            await in_thread(etcd.restart, kill=True)
            await until_renewed(one)
            assert not one.is_lost()
            later = await two.claim([A0, A2])
            assert set(later) == {A2}
            assert later[A2] > won[A0]
            view = await until(one, lambda view: A2 in view.claims)
            assert view.claims == {
                A0: Claim("n1", won[A0]),
                A1: Claim("n1", won[A1]),
                A2: Claim("n2", later[A2]),
            }
            await one.release([A0])
            await until(two, lambda view: A0 not in view.claims)

    async def test_freeze_longer_than_the_trust_window(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=6, margin_ms=4_000)
        async with joined(settings, "n1") as one, joined(settings, "n2") as two:
            won = await one.claim([A0])
            etcd.pause()
            try:
                await until_so(lambda: not is_trusted(one))
                assert not one.is_lost()
                claiming = asyncio.create_task(two.claim([A1]))
            finally:
                etcd.resume()
            await until_so(lambda: is_trusted(one))
            assert not one.is_lost()
            later = await claiming
            view = await until(one, lambda view: A1 in view.claims)
            assert view.claims == {A0: Claim("n1", won[A0]), A1: Claim("n2", later[A1])}

    async def test_freeze_longer_than_the_lease(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=2, margin_ms=500)
        async with joined(settings, "n1") as one:
            await one.claim([A0])
            etcd.pause()
            try:
                await until_so(one.is_lost, patience_s=60)
            finally:
                etcd.resume()
            await asyncio.wait_for(one.wait_for_change(), 60)
            assert one.trusted_until_ms() == 0
            async with joined(settings, "n1") as again:
                assert await again.claim([A0])

    async def test_compaction_while_the_watch_is_down(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        async with tcp_proxy(etcd.port) as proxy, joined(settings, "n2") as two:
            await two.claim([A0, A1])
            behind = settings_for(proxy.endpoint, prefix=settings.prefix)
            async with joined(behind, "n1") as one, aetcd.Client(port=etcd.port) as client:
                assert set(one.view().claims) == {A0, A1}
                proxy.is_closed = True
                proxy.cut()
                await two.release([A0])
                won = await two.claim([A2])
                head = await client.put(b"/elsewhere", b"")
                await client.compact(head.header.revision)
                proxy.is_closed = False
                view = await until(one, lambda view: A2 in view.claims)
                assert set(view.claims) == {A1, A2}
                assert view.claims[A2].epoch == won[A2]
                await two.release([A2])  # and the watch goes on
                await until(one, lambda view: A2 not in view.claims)
                assert not one.is_lost()

    async def test_a_lease_that_etcd_ended_is_noticed(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        async with (
            joined(settings, "n1") as one,
            joined(settings, "n2") as two,
            aetcd.Client(port=etcd.port) as client,
        ):
            won = await one.claim([A0])
            await client.revoke_lease(one._lease.id)
            with pytest.raises(LeaseLost):
                await one.claim([A1])
            assert one.is_lost()
            await until(two, lambda view: set(view.members) == {"n2"} and not view.claims)
            assert (await two.claim([A0]))[A0] > won[A0]
            await client.revoke_lease(two._lease.id)  # found by the renewal
            await until_so(two.is_lost)
            assert two.trusted_until_ms() == 0


class TestLostAnswers:
    async def test_a_claim_without_answer_is_found_by_the_second_attempt(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        wanted = [Instance("a", number) for number in range(500)]
        async with tcp_proxy(etcd.port) as proxy, joined(settings, "n2") as two:
            await two.claim(wanted[::10])
            async with joined(settings_for(proxy.endpoint, prefix=settings.prefix), "n1") as one:
                proxy.is_deaf = True
                claiming = asyncio.create_task(one.claim(wanted))
                await until(two, lambda view: any(claim.node == "n1" for claim in view.claims.values()))
                proxy.is_deaf = False
                proxy.cut()
                won = await claiming
                assert set(won) == set(wanted) - set(wanted[::10])
                view = await until(two, lambda view: len(view.claims) == 500)
                assert {each: view.claims[each] for each in won} == {
                    each: Claim("n1", epoch) for each, epoch in won.items()
                }

    async def test_a_claim_that_never_got_an_answer_turns_up_in_the_view(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=30)
        async with tcp_proxy(etcd.port) as proxy, joined(settings, "n2") as two:
            behind = settings_for(proxy.endpoint, prefix=settings.prefix, ttl_s=30)
            async with joined(behind, "n1") as one:
                proxy.is_deaf = True
                with pytest.raises(OutcomeUnknown):
                    await one.claim([A0])
                assert not one.view().claims
                proxy.is_deaf = False
                proxy.cut()
                view = await until(one, lambda view: A0 in view.claims)
                assert view.claims[A0].node == "n1"
                assert await one.claim([A0]) == {}  # an old term is not given out twice
                await one.release([A0])
                await until(two, lambda view: A0 not in view.claims)
                assert set(await one.claim([A0])) == {A0}


class TestEndpoints:
    async def test_nobody_there(self) -> None:
        endpoint = f"127.0.0.1:{take_ports(1)[0]}"
        began = time.monotonic()
        with pytest.raises(StartupError, match=endpoint):
            async with joined(settings_for(endpoint)):
                pass
        with pytest.raises(StartupError, match=endpoint):
            await fetch_identity(settings_for(endpoint))
        assert time.monotonic() - began < 30

    async def test_missing_certificate_file(self, tmp_path: Path) -> None:
        with pytest.raises(StartupError, match=r"none\.pem"):
            EtcdSession(settings_for("127.0.0.1:1", ca_file=str(tmp_path / "none.pem")), CLOCK)

    async def test_any_of_several(self, etcd: EtcdServer) -> None:
        nobody = f"127.0.0.1:{take_ports(1)[0]}"
        async with tcp_proxy(etcd.port) as proxy:
            settings = settings_for(nobody, proxy.endpoint, etcd.endpoint)
            async with (
                joined(settings) as session,
                joined(settings_for(etcd.endpoint, prefix=settings.prefix), "n2") as two,
            ):
                assert await session.claim([A0])
                proxy.is_closed = True
                proxy.cut()
                assert await session.claim([A1])
                await two.claim([A2])
                await until(session, lambda view: A2 in view.claims)
                gone_ms = CLOCK.boot_ms()
                await until_so(lambda: session.trusted_until_ms() > gone_ms + LONG_S * 1_000 - 1_000)

    async def test_login_and_login_again_after_a_restart(self, tmp_path: Path) -> None:
        with LocalServers(tmp_path, cassandra=False, kafka=False, own=True) as servers:
            etcd = servers.etcd
            async with rpc.insecure_channel(etcd.endpoint) as channel:
                auth = rpc.AuthStub(channel)
                await auth.UserAdd(rpc.AuthUserAddRequest(name="root", password="x"))
                await auth.RoleAdd(rpc.AuthRoleAddRequest(name="root"))
                await auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="root", role="root"))
                await auth.AuthEnable(rpc.AuthEnableRequest())
            with pytest.raises(StartupError, match=etcd.endpoint):
                async with joined(settings_for(etcd.endpoint, username="root", password="y")):
                    pass
            settings = settings_for(etcd.endpoint, ttl_s=LONG_S, username="root", password="x")
            async with joined(settings) as one, joined(settings, "n2") as two:
                assert await one.claim([A0])
                await in_thread(etcd.restart, kill=True)
                await until_renewed(one)
                assert await one.claim([A1])
                await until(two, lambda view: A1 in view.claims)

    async def test_tls_with_client_certificate(self, tmp_path: Path) -> None:
        files = Authority(tmp_path).issue("etcd")
        ca, cert, key = str(files.ca), str(files.cert), str(files.key)
        options = EtcdOptions(tls=files)
        with LocalServers(tmp_path / "etcd", cassandra=False, kafka=False, own=True, etcd=options) as servers:
            endpoint = servers.etcd.endpoint
            async with joined(settings_for(endpoint, ca_file=ca, cert_file=cert, key_file=key)) as session:
                assert await session.claim([A0])
            with pytest.raises(StartupError, match=f"TLS to {endpoint}: our certificate was refused"):
                async with joined(settings_for(endpoint, ca_file=ca)):
                    pass


class TestNamesAndEras:
    async def test_a_name_in_use_is_refused(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=5)
        async with joined(settings) as one:
            await one.claim([A0])
            with pytest.raises(StartupError, match="another process is node n1, at n1:1"):
                async with joined(settings):
                    pass
            assert not one.is_lost()
            assert set(one.view().claims) == {A0}

    async def test_a_name_of_a_dead_process_is_waited_for(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        async with aetcd.Client(port=etcd.port) as client:
            dead = await client.lease(2)
            await client.put(f"{settings.prefix}/nodes/n1".encode(), b"{}", dead)
            await client.put(f"{settings.prefix}/pollers/a/0".encode(), b"n1", dead)
        async with joined(settings) as session:
            assert set(session.view().members) == {"n1"}
            assert not session.view().claims

    async def test_claims_of_another_life_are_not_released(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        async with joined(settings) as session, aetcd.Client(port=etcd.port) as client:
            other = await client.lease(30)
            await client.put(f"{settings.prefix}/pollers/a/0".encode(), b"n1", other)
            await until(session, lambda view: A0 in view.claims)
            await session.release([A0])
            assert await client.get(f"{settings.prefix}/pollers/a/0".encode())
            await client.revoke_lease(other.id)

    async def test_foreign_and_broken_keys_do_no_harm(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        async with joined(settings) as session, aetcd.Client(port=etcd.port) as client:
            for key in ("pollers/a/x", "pollers/7", "other", "nodes/n9"):
                await client.put(f"{settings.prefix}/{key}".encode(), b"\xff{")
            view = await until(session, lambda view: "n9" in view.members)
            assert view.members["n9"] == Member(node="n9")
            assert not view.claims

    async def test_identity_is_kept_until_etcd_forgets_it(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        first = await fetch_identity(settings)
        assert await fetch_identity(settings) == first
        eras: list[str] = []

        async def raise_era(identity: str) -> int:
            eras.append(identity)
            return len(set(eras))

        async with joined(settings, raise_era=raise_era) as session:
            assert (session.era, eras) == (1, [first])
        async with aetcd.Client(port=etcd.port) as client:
            await client.delete(f"{settings.prefix}/identity".encode())
        async with joined(settings, raise_era=raise_era) as session:
            assert session.era == 2
            assert eras[-1] != first

    async def test_etcd_going_back_in_time_ends_the_session(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        before = await fetch_identity(settings)
        async with tcp_proxy(etcd.port) as proxy:
            behind = settings_for(proxy.endpoint, prefix=settings.prefix)
            async with joined(behind) as session, joined(settings, "n2"):
                await until(session, lambda view: "n2" in view.members)  # so the watch is there
                session._book.revision += 1_000_000  # as if etcd had been put back to a backup
                proxy.cut()
                await until_so(session.is_lost)
        assert await fetch_identity(settings) != before


class TestSizeAndShutdown:
    async def test_five_thousand_claims(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint, ttl_s=10)
        wanted = [Instance(f"app{number % 50}", number // 50) for number in range(5_000)]
        async with joined(settings, "n1") as one, joined(settings, "n2") as two:
            began = time.monotonic()
            won = await one.claim(wanted)
            took_s = time.monotonic() - began
            assert len(won) == 5_000
            await until(two, lambda view: len(view.claims) == 5_000)
            seen_s = time.monotonic() - began
            print(f"\n5,000 claims: {took_s:.2f} s, all seen by another session after {seen_s:.2f} s")
            assert two.view() is two.view()
            async with joined(settings, "n3") as three:
                assert len(three.view().claims) == 5_000
            await one.release(wanted)
            await until(two, lambda view: not view.claims)
            assert took_s < 60

    async def test_an_unnoticed_gap_is_closed_by_the_next_load(self, etcd: EtcdServer) -> None:
        settings = settings_for(etcd.endpoint)
        session = EtcdSession(settings, CLOCK)
        session._watching.reload_s = 0.3
        await session.join(Member(node="n1"))
        won = await session.claim([A0])
        session._book._claims[A1] = Claim("n9", 1)  # as if the event of its end had been swallowed
        session._book._view = None
        view = await until(session, lambda view: A1 not in view.claims)
        assert view.claims == {A0: Claim("n1", won[A0])}
        await session.close()

    @pytest.mark.parametrize("part", [(KeptLease, "keep"), (Watching, "run")], ids=["lease", "view"])
    async def test_a_bug_in_a_task_of_its_own_loses_the_session(
        self, etcd: EtcdServer, part: tuple[type, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ended in silence, the node would go on with a view that stands still, or until its lease ends."""

        async def fail(*_: object) -> None:
            await begun.wait()
            raise ValueError("a bug")

        begun = asyncio.Event()
        monkeypatch.setattr(*part, fail)
        async with joined(settings_for(etcd.endpoint)) as session:
            begun.set()
            async with asyncio.timeout(60):
                while not session.is_lost():
                    await session.wait_for_change()
            with pytest.raises(LeaseLost):
                await session.claim([A0])

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    @pytest.mark.parametrize("end", ["close", "drop"])
    def test_shutdown_says_nothing(self, etcd: EtcdServer, loop: str, end: str) -> None:
        settings = settings_for(etcd.endpoint)
        script = f"""
import asyncio, uvloop
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import CoordinationSettings

async def main():
    settings = CoordinationSettings(endpoints={settings.endpoints!r}, prefix={settings.prefix!r})
    session = EtcdSession(settings, SystemClock())
    await session.join(Member(node="n1"))
    assert len(await session.claim([Instance("a", n) for n in range(1000)])) == 1000
    if {end!r} == "close":
        await session.close()

with asyncio.Runner(loop_factory={"uvloop.new_event_loop" if loop == "uvloop" else "None"}) as runner:
    runner.run(main())
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
