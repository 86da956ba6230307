"""Kafka callbacks over TLS with a login, to a broker that knows who may write where."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from tests.service.kafka_rig import callback_for, delivery, new_topic, read_all

from ringtime_local import KafkaOptions, KafkaServer, LocalServers
from ringtime_shared.callbacks.protocol import Reply

pytestmark = pytest.mark.service

MODULE = "org.apache.kafka.common.security"
TOPIC, LITERAL, DENY, ALLOW = 2, 3, 2, 3  # numbers of the protocol
ALL, WRITE, DESCRIBE = 2, 4, 8
NOT_CONNECTED = "not sent: no broker could be reached, or none took the login"


def make_certificates(folder: Path) -> None:
    """Write ca.pem, a certificate for server and client (cert.pem, key.pem), and stranger.pem, another CA."""
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    new = "openssl req -newkey rsa:2048 -nodes"
    for command in (
        f"{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        f"{new} -x509 -days 2 -subj /CN=stranger -keyout stranger.key -out stranger.pem",
        f"{new} -subj /CN=node -keyout key.pem -out csr.pem",
        "openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -days 2 -extfile ext -out cert.pem",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "broker.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secure-kafka")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[KafkaServer]:
    """Clients come by TLS, with a certificate and a login; probes come by the other listener."""
    clients = "listener.name.clients"
    plain = f'{MODULE}.plain.PlainLoginModule required user_plain="p1";'
    settings = {
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"{clients}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"{clients}.plain.sasl.jaas.config": plain,
        f"{clients}.scram-sha-256.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        f"{clients}.scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        f"{clients}.ssl.client.auth": "required",
        f"{clients}.ssl.keystore.type": "PEM",
        f"{clients}.ssl.keystore.location": folder / "broker.pem",
        f"{clients}.ssl.truststore.type": "PEM",
        f"{clients}.ssl.truststore.location": folder / "ca.pem",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
    }
    users = tuple(
        part
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for part in ("--add-scram", f"{mechanism}=[name=scram,password=s1]")
    )
    options = KafkaOptions(settings=settings, format_options=users)
    with LocalServers(folder / "servers", cassandra=False, kafka=options, etcd=False, own=True) as servers:
        yield servers.kafka


def login(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "security": "SASL_SSL",
        "username": "scram",
        "password": "s1",
        "ca_file": str(folder / "ca.pem"),
        "cert_file": str(folder / "cert.pem"),
        "key_file": str(folder / "key.pem"),
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
async def test_login(server: KafkaServer, folder: Path, user: dict[str, str]) -> None:
    topic = await new_topic(server)
    async with callback_for(server.bootstrap, **login(folder, **user)) as callback:
        assert await callback.invoke(delivery(topic)) == Reply(ok=True)
    assert len(await read_all(server, topic)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"mechanism": "PLAIN"},
        {"ca_file": "stranger.pem"},
        {"cert_file": "", "key_file": ""},
        {"security": "PLAINTEXT"},
    ],
)
async def test_whoever_is_not_let_in_says_so_and_tries_again(
    server: KafkaServer, folder: Path, change: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    topic = await new_topic(server)
    if change.get("ca_file"):
        change = {"ca_file": str(folder / change["ca_file"])}
    async with callback_for(server.bootstrap, deadline_ms=3_000, **login(folder, **change)) as callback:
        assert await callback.invoke(delivery(topic)) == Reply(ok=False, error=NOT_CONNECTED)
    assert "s1" not in caplog.text
    assert await read_all(server, topic) == []


async def test_topic_that_may_not_be_written_is_final_and_stops_no_other(
    server: KafkaServer, folder: Path
) -> None:
    free, unwritable, hidden = [await new_topic(server) for _ in range(3)]
    await rule(server, unwritable, DESCRIBE, ALLOW)
    await rule(server, unwritable, WRITE, DENY)
    await rule(server, hidden, ALL, DENY)
    async with callback_for(server.bootstrap, **login(folder)) as callback:
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
