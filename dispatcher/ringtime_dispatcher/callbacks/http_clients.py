"""HTTP clients that connect to one checked address and never ask a name server.

pyreqwest can pin a name to an address only when a client is made, and to only one, so there is a client for
each host and address that is in use, for a minute. Host header, TLS server name and certificate check keep
the name. Making a client for TLS reads all root certificates of the system: 5 to 8 ms of processor time and
130 KiB. So those asked for while another is being made share the next one: hundreds of new hosts at one
instant take a handful of builds, in a thread beside the loop.

A client that is let go of closes its idle connections; requests in flight end undisturbed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from pyreqwest.client import Client, ClientBuilder

from ringtime_shared.callbacks.address_rules import Address
from ringtime_shared.callbacks.targets import Target

_KEEP_S = 60.0  #: no connection is used longer
_MOST_KEPT = 512  #: clients, at most 130 KiB each; the oldest goes first
_MOST_IDLE = 200  #: idle connections to one host and port: as many as one app may have under way
_IDLE_S = 30
_CONNECT_S = 5.0  #: for TCP and TLS; a host that needs longer is tried again later


class _Pin(NamedTuple):
    scheme: str
    host: str
    address: Address


class _Kept(NamedTuple):
    client: Client
    until_s: float


class PinnedClients:
    """Clients by scheme, host and address.

    Args:
        max_connections: requests under way at once on one client.
    """

    def __init__(self, *, max_connections: int) -> None:
        self._max_connections = max_connections
        self._kept: OrderedDict[_Pin, _Kept] = OrderedDict()  # oldest first
        self._waiting: dict[_Pin, asyncio.Future[Client]] = {}
        self._building: asyncio.Task[None] | None = None

    async def fetch(self, target: Target, address: Address, *, until_s: float) -> Client:
        """Return a client that reaches the target's host at this address and nowhere else.

        Raises TimeoutError when the loop's time passes `until_s`, PyreqwestError if the system has no root
        certificates.
        """
        pin = _Pin(target.scheme, target.host, address)
        kept = self._kept.get(pin)
        if kept is not None and asyncio.get_running_loop().time() < kept.until_s:
            return kept.client
        if target.scheme == "https":
            async with asyncio.timeout_at(until_s):
                return await self._join_batch(pin)
        client = self._build({pin.host: address}, is_tls=False)
        self._keep(pin, client)
        return client

    async def close(self) -> None:
        """Close all connections, also those in use."""
        if self._building is not None:
            self._building.cancel()
        while self._kept:
            await self._kept.popitem()[1].client.close()

    async def _join_batch(self, pin: _Pin) -> Client:
        waiter = self._waiting.get(pin)
        if waiter is None:
            waiter = self._waiting[pin] = asyncio.get_running_loop().create_future()
            if self._building is None:
                self._building = asyncio.create_task(self._build_batches(), name="build HTTP clients")
        return await asyncio.shield(waiter)  # another attempt may wait for the same one

    async def _build_batches(self) -> None:
        try:
            while self._waiting:
                batch = {pin.host: pin for pin in self._waiting}  # one address for each host, the last
                waiters = {pin: self._waiting.pop(pin) for pin in batch.values()}
                addresses = {pin.host: pin.address for pin in waiters}
                try:
                    client = await asyncio.to_thread(self._build, addresses, is_tls=True)
                except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
                    for waiter in waiters.values():
                        waiter.set_exception(error)
                    continue
                for pin, waiter in waiters.items():
                    self._keep(pin, client)
                    waiter.set_result(client)
        finally:
            self._building = None

    def _keep(self, pin: _Pin, client: Client) -> None:
        now_s = asyncio.get_running_loop().time()
        self._kept[pin] = _Kept(client, now_s + _KEEP_S)
        self._kept.move_to_end(pin)
        while len(self._kept) > _MOST_KEPT or next(iter(self._kept.values())).until_s <= now_s:
            self._kept.popitem(last=False)

    def _build(self, addresses: Mapping[str, Address], *, is_tls: bool) -> Client:
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .no_proxy()
            .gzip(False)
            .deflate(False)
            .brotli(False)
            .zstd(False)
            .tcp_nodelay(True)
            .max_connections(self._max_connections)
            .pool_max_idle_per_host(_MOST_IDLE)
            .pool_idle_timeout(timedelta(seconds=_IDLE_S))
            .connect_timeout(timedelta(seconds=_CONNECT_S))
            .user_agent("ringtime")
        )
        for host, address in addresses.items():
            builder = builder.resolve(host, str(address), 0)  # the port is that of the URL, whatever is here
        if not is_tls:
            # Skips reading the certificates. This client is given http:// URLs only and follows no redirect.
            builder = builder.danger_accept_invalid_certs(True)
        return builder.build()
