"""Kafka callbacks over TLS with a login, to a broker that knows who may write where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from tests.service.kafka_rig import callback_for, delivery, new_topic, read_all

from ringtime_local import Authority, KafkaOptions, KafkaServer, LocalServers, TlsFiles
from ringtime_shared.callbacks.protocol import Reply

pytestmark = pytest.mark.service

MODULE = "org.apache.kafka.common.security"
TOPIC, LITERAL, DENY, ALLOW = 2, 3, 2, 3  # numbers of the protocol
ALL, WRITE, DESCRIBE = 2, 4, 8
NOT_CONNECTED = "not sent: no broker could be reached, or none took the login"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secure-kafka")


@pytest.fixture(scope="module")
def files(folder: Path) -> TlsFiles:
    return Authority(folder).issue("node")


@pytest.fixture(scope="module")
def server(folder: Path, files: TlsFiles) -> Iterator[KafkaServer]:
    """Clients come by TLS, with a certificate and a login; probes come by the other listener."""
    clients = "listener.name.clients"
    plain = f'{MODULE}.plain.PlainLoginModule required user_plain="p1";'
    settings = {
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"{clients}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"{clients}.plain.sasl.jaas.config": plain,
        f"{clients}.scram-sha-256.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        f"{clients}.scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
    }
    users = tuple(
        part
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for part in ("--add-scram", f"{mechanism}=[name=scram,password=s1]")
    )
    options = KafkaOptions(tls=files, settings=settings, format_options=users)
    with LocalServers(folder / "servers", cassandra=False, kafka=options, etcd=False, own=True) as servers:
        yield servers.kafka


def login(files: TlsFiles, **more: Any) -> dict[str, Any]:
    return {
        "security": "SASL_SSL",
        "username": "scram",
        "password": "s1",
        "ca_file": str(files.ca),
        "cert_file": str(files.cert),
        "key_file": str(files.key),
        **more,
    }


async def rule(server: KafkaServer, topic: str, operation: int, permission: int) -> None:
    client = AIOKafkaClient(bootstrap_servers=server.direct)
    try:
        await client.bootstrap()
        request = CreateAclsRequest(TOPIC, topic, LITERAL, "User:scram", "*", operation, permission)
        answer = await client.send(client.get_random_node(), request)
        assert answer.creation_responses[0][0] == 0
    finally:
        await client.close()


@pytest.mark.parametrize(
    "user",
    [
        {"mechanism": "SCRAM-SHA-512"},
        {"mechanism": "SCRAM-SHA-256"},
        {"mechanism": "PLAIN", "username": "plain", "password": "p1"},
    ],
)
async def test_login(server: KafkaServer, files: TlsFiles, user: dict[str, str]) -> None:
    topic = await new_topic(server)
    async with callback_for(server.bootstrap, **login(files, **user)) as callback:
        assert await callback.invoke(delivery(topic)) == Reply(ok=True)
    assert len(await read_all(server, topic)) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"password": "wrong"}, ""),
        ({"username": "nobody"}, ""),
        ({"mechanism": "PLAIN"}, ""),
        ({"ca_file": "stranger.pem"}, "the certificate is signed by nobody who is trusted here"),
        (
            {"cert_file": "", "key_file": ""},
            "our certificate was refused: the other side takes it for a bad one",
        ),
        ({"security": "PLAINTEXT"}, ""),
    ],
)
async def test_whoever_is_not_let_in_says_so_and_tries_again(
    server: KafkaServer,
    files: TlsFiles,
    change: dict[str, str],
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = await new_topic(server)
    if change.get("ca_file"):
        change = {"ca_file": str(Authority(files.ca.parent, "stranger").ca)}
    error = f"not sent: TLS to {server.bootstrap}: {fault}" if fault else NOT_CONNECTED
    async with callback_for(server.bootstrap, deadline_ms=3_000, **login(files, **change)) as callback:
        assert await callback.invoke(delivery(topic)) == Reply(ok=False, error=error)
    assert "s1" not in caplog.text
    assert await read_all(server, topic) == []


async def test_topic_that_may_not_be_written_is_final_and_stops_no_other(
    server: KafkaServer, files: TlsFiles
) -> None:
    free, unwritable, hidden = [await new_topic(server) for _ in range(3)]
    await rule(server, unwritable, DESCRIBE, ALLOW)
    await rule(server, unwritable, WRITE, DENY)
    await rule(server, hidden, ALL, DENY)
    async with callback_for(server.bootstrap, **login(files)) as callback:
        for number in range(3):
            reply = await callback.invoke(delivery(unwritable, number))
            assert reply == final("the brokers do not let us write to this topic")
            reply = await callback.invoke(delivery(hidden, number))
            assert reply == final("the brokers do not let us use this topic")
            assert (await callback.invoke(delivery(free, number))).ok
    assert len(await read_all(server, free)) == 3
    assert await read_all(server, unwritable) == []


def final(error: str) -> Reply:
    return Reply(ok=False, error=error, is_final=True)
