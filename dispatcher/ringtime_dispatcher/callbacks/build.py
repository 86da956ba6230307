"""The callback types a process can deliver by, and where it tells marks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_dispatcher.callbacks.http.trust import Trust
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.foreign import describe, is_own_cancel
from ringtime_shared.callbacks.plugins import load_callback_types
from ringtime_shared.callbacks.protocol import CallbackType
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.clock import Clock
from ringtime_shared.entry import extra_needed
from ringtime_shared.errors import StartupError
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.settings import KafkaSettings, Settings

_log = logging.getLogger(__name__)
_CLOSE_S = 20.0  #: for one type; Kafka takes ten at most


class MarkTopic(Protocol):
    """Where marks are told."""

    async def send(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Send keys and values, and wait for their acknowledgement.

        Raises StoreUnavailable: some may not be there.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


def make_callbacks(settings: Settings, clock: Clock, *, loopback: bool = False) -> dict[str, CallbackType]:
    """Return the types by name: `http`, `kafka` if there are brokers, and what the settings name.

    Must be called while an event loop runs. Raises StartupError.

    Args:
        loopback: development mode: HTTP callbacks may reach this machine on any port.
    """
    kinds: dict[str, CallbackType] = {}
    http = HttpCallback(
        EgressPolicy.of(settings.egress, loopback=loopback),
        Resolver(settings.egress),
        max_connections=settings.dispatch.max_in_flight,
        clock=clock,
        completions=Completions.of(settings.completion),
        trust=Trust(settings.callbacks),
    )
    kinds[http.name] = http
    if settings.kafka.bootstrap:
        kafka = _make_kafka(settings.kafka)
        kinds[kafka.name] = kafka
    return kinds | load_callback_types(settings.callbacks.types)


def _make_kafka(settings: KafkaSettings) -> CallbackType:
    """Return the type `kafka`; its client is imported where there are brokers only."""
    try:
        from ringtime_dispatcher.callbacks.kafka.callback import KafkaCallback
    except ModuleNotFoundError as error:
        need = extra_needed(error)
        if need is None:
            raise
        raise StartupError(f"kafka.bootstrap is set, and a callback to Kafka {need}") from error
    return KafkaCallback(settings)


def open_mark_topic(settings: KafkaSettings) -> MarkTopic | None:
    """Return where completeness marks are told; None: nowhere. Raises StartupError."""
    if not settings.completeness_topic:
        return None
    try:
        from ringtime_dispatcher.callbacks.kafka.marks import KafkaMarks
    except ModuleNotFoundError as error:
        need = extra_needed(error)
        if need is None:
            raise
        raise StartupError(f"kafka.completeness_topic is set, and Kafka {need}") from error
    return KafkaMarks(settings)


async def close_callbacks(kinds: Iterable[CallbackType]) -> None:
    """Let go of all connections. One that cannot, or takes too long over it, keeps no other from it."""
    for kind in kinds:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await kind.close()
        except BaseException as error:  # a plug-in may raise anything
            if is_own_cancel(error):
                raise
            _log.warning("callback type %s could not be closed: %s", kind.name, describe(error))
