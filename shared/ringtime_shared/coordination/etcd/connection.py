"""Calls to etcd: login, failover from one server to the next, and our errors instead of gRPC's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aetcd import rpc

from ringtime_shared.coordination.etcd.channels import (
    Server,
    certificate_fault,
    open_server,
    read_credentials,
)
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import CoordinationSettings

CALL_S = 2.0  #: deadline of a call that names none
_PAUSES_S = (0.1, 0.3)  # between the attempts of one transaction
_WATCH_ANSWER_S = 5.0  # from opening a watch to its first answer
_log = logging.getLogger(__name__)
_NOTHING_WRITTEN = ("failed to connect", "no leader")
_STALE_LOGIN = ("invalid auth token", "revision of auth store is old")


class Refused(StoreUnavailable):
    """etcd answered, and the answer was no."""

    def __init__(self, endpoint: str, code: Any, details: str) -> None:
        super().__init__(f"etcd at {endpoint} refused: {details}")
        self.is_lease_gone = code is rpc.StatusCode.NOT_FOUND and "lease not found" in details
        self.is_lease_there = "lease already exists" in details
        self.is_compacted = "compacted" in details


class Connection:
    """One session's way to the etcd cluster. Raises StoreUnavailable, OutcomeUnknown, nothing of gRPC's."""

    def __init__(self, settings: CoordinationSettings) -> None:
        self.endpoints = settings.endpoints
        self._settings = settings
        self._username = settings.username
        self._password = settings.password
        self._credentials = read_credentials(settings)
        self._servers: dict[int, Server] = {}
        self._current = 0
        self._token = ""
        self._is_closed = False

    async def certificate_fault(self) -> str:
        """Return what to put before an error of a start, if it was about a certificate."""
        return await certificate_fault(self._settings)

    async def txn(self, request: Any, timeout_s: float = CALL_S) -> Any:
        return await self._call(lambda server: server.kv.Txn, request, timeout_s)

    async def txn_again(self, request: Any) -> Any:
        """Send a transaction that does no harm when it is sent again, up to three times."""
        unknown: OutcomeUnknown | None = None
        for pause_s in _PAUSES_S:
            try:
                return await self.txn(request)
            except Refused:
                raise
            except OutcomeUnknown as error:
                unknown = error
            except StoreUnavailable as error:
                _log.debug("%s", error)
            await asyncio.sleep(pause_s)
        try:
            return await self.txn(request)
        except StoreUnavailable as error:
            raise unknown or error from None

    async def fetch_range(self, request: Any, timeout_s: float = CALL_S) -> Any:
        return await self._call(lambda server: server.kv.Range, request, timeout_s)

    async def grant(self, request: Any, timeout_s: float = CALL_S) -> Any:
        return await self._call(lambda server: server.lease.LeaseGrant, request, timeout_s)

    async def revoke(self, request: Any, timeout_s: float = CALL_S) -> Any:
        return await self._call(lambda server: server.lease.LeaseRevoke, request, timeout_s)

    async def renew(self, request: Any, timeout_s: float) -> Any:
        """Renew once. A stream of one question and one answer, so that each renewal has a deadline."""
        return await self._call(_renew_once, request, timeout_s)

    async def watch(self, request: Any) -> AsyncGenerator[Any, None]:
        """Yield what the watch answers; ends by StoreUnavailable or OutcomeUnknown only."""
        server = self._server()
        call = None
        try:
            async with asyncio.timeout(_WATCH_ANSWER_S):
                # etcd ends a watch that asked for a leader when its server is cut off from the others.
                metadata = (*await self._metadata(server, _WATCH_ANSWER_S), ("hasleader", "true"))
                call = server.watch.Watch(metadata=metadata)
                await call.write(request)
                answer = await call.read()
            while isinstance(answer, rpc.WatchResponse):
                yield answer
                answer = await call.read()
            raise StoreUnavailable("etcd ended the watch")
        except TimeoutError as error:
            self._move_on(server)
            raise StoreUnavailable("etcd did not answer a watch") from error
        except asyncio.InvalidStateError as error:  # gRPC's way to say the stream broke before the write
            self._move_on(server)
            raise StoreUnavailable("the watch broke") from error
        except rpc.AioRpcError as error:
            raise self._translate(server, error) from error
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise StoreUnavailable("the connection to etcd was closed") from None
        finally:
            if call is not None:
                call.cancel()

    async def close(self) -> None:
        """Close all channels; calls under way end with StoreUnavailable. Safe to call twice."""
        self._is_closed = True
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.channel.close()

    async def _call(self, pick: Callable[[Server], Any], request: Any, timeout_s: float) -> Any:
        server = self._server()
        is_again = False
        while True:
            try:
                metadata = await self._metadata(server, timeout_s)
                return await pick(server)(request, timeout=timeout_s, metadata=metadata)
            except rpc.AioRpcError as error:
                if self._username and not is_again and _is_stale_login(error):
                    self._token, is_again = "", True
                    continue
                raise self._translate(server, error) from error
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                raise OutcomeUnknown("the connection to etcd was closed during a call") from None

    def _server(self) -> Server:
        if self._is_closed:
            raise StoreUnavailable("the connection to etcd is closed")
        if self._current not in self._servers:
            endpoint = self.endpoints[self._current]
            self._servers[self._current] = open_server(self._current, endpoint, self._credentials)
        return self._servers[self._current]

    async def _metadata(self, server: Server, timeout_s: float) -> tuple[tuple[str, str], ...]:
        if not self._username:
            return ()
        if not self._token:
            request = rpc.AuthenticateRequest(name=self._username, password=self._password)
            self._token = (await server.auth.Authenticate(request, timeout=timeout_s)).token
        return (("token", self._token),)

    def _translate(self, server: Server, error: Any) -> StoreUnavailable | OutcomeUnknown:
        endpoint = self.endpoints[server.index]
        code, details = error.code(), error.details() or ""
        if _is_stale_login(error):
            self._token = ""
        if code in (rpc.StatusCode.UNAVAILABLE, rpc.StatusCode.DEADLINE_EXCEEDED):
            self._move_on(server)
        elif code not in (rpc.StatusCode.CANCELLED, rpc.StatusCode.INTERNAL, rpc.StatusCode.UNKNOWN):
            return Refused(endpoint, code, details)
        if any(words in details for words in _NOTHING_WRITTEN):
            return StoreUnavailable(f"etcd at {endpoint}: {details}")
        return OutcomeUnknown(f"etcd at {endpoint} gave no answer: {details}")

    def _move_on(self, server: Server) -> None:
        """Let the next call go to the next server, unless another call has seen to that."""
        if self._current == server.index:
            self._current = (server.index + 1) % len(self.endpoints)


def _renew_once(server: Server) -> Callable[..., Any]:
    async def renew(request: Any, *, timeout: float, metadata: Any) -> Any:
        call = server.lease.LeaseKeepAlive(timeout=timeout, metadata=metadata)
        try:
            await call.write(request)
            answer = await call.read()
        except asyncio.InvalidStateError as error:
            raise OutcomeUnknown("the stream for a renewal broke") from error
        finally:
            call.cancel()
        if not isinstance(answer, rpc.LeaseKeepAliveResponse):
            raise OutcomeUnknown("etcd ended the stream of a renewal without an answer")
        return answer

    return renew


def _is_stale_login(error: Any) -> bool:
    return any(words in (error.details() or "") for words in _STALE_LOGIN)


def _is_cancelled() -> bool:
    """Whether our task was cancelled: gRPC raises the same when only the channel was closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
