"""Blocking questions to a Kafka cluster, by aiokafka's admin client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ringtime_local.addresses import check_port, parse_addresses
from ringtime_local.errors import LaunchError, NotReady

TIMEOUT_S = 10.0

Answer = TypeVar("Answer")


def ask_brokers(bootstrap: str) -> int:
    """Return how many brokers the cluster's metadata names. Raises NotReady."""
    check_port(parse_addresses(bootstrap, source="bootstrap")[0])
    return len(_administer(bootstrap, lambda admin: admin.describe_cluster())["brokers"])


def create_topic(bootstrap: str, name: str, *, partitions: int, config: Mapping[str, str]) -> None:
    """Create a topic with one replica. Raises LaunchError when it cannot, or when it exists."""
    from aiokafka.admin import NewTopic

    topic = NewTopic(name, partitions, 1, topic_configs=dict(config))
    try:
        answer = _administer(bootstrap, lambda admin: admin.create_topics([topic]))
    except NotReady as error:
        raise LaunchError(f"topic {name} was not created: {error}") from error
    for _, code, *message in answer.topic_errors:
        if code:
            raise LaunchError(f"topic {name} was not created: error {code} {message}")


def _administer(bootstrap: str, ask: Callable[[Any], Awaitable[Answer]]) -> Answer:
    # Imported late: a run that needs only etcd does without the client.
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    async def connect_and_ask() -> Answer:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(TIMEOUT_S * 1000))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await admin.start()
                return await ask(admin)
        except (KafkaError, OSError, TimeoutError) as error:
            raise NotReady(f"{type(error).__name__}: {error}") from error
        finally:
            await admin.close()

    # A thread of its own, because the caller's may already run an event loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, connect_and_ask()).result()
