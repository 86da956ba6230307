"""Channels to the etcd servers, as the settings want them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from aetcd import rpc

from ringtime_shared.certificates import client_context, find_fault
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import CoordinationSettings

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # a page of claims may pass the default of 4 MiB
    ("grpc.use_local_subchannel_pool", 1),  # else sessions of one process share connections and back-off
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # gRPC's name for the time one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses pings more often than every 5 s
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Server:
    """One etcd server: its channel and what can be asked over it."""

    index: int
    channel: Any
    kv: Any
    lease: Any
    watch: Any
    auth: Any


def read_credentials(settings: CoordinationSettings) -> Any:
    """Return TLS credentials; None for none. Raises StartupError naming the file that cannot be read."""
    if not settings.ca_file:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.ca_file),
        private_key=_read(settings.key_file),
        certificate_chain=_read(settings.cert_file),
    )


async def certificate_fault(settings: CoordinationSettings) -> str:
    """Return what is wrong with which certificate between us and etcd, in words to be put before those of
    gRPC; "": nothing, or it could not be found out."""
    if not settings.ca_file:
        return ""
    context = client_context(settings.ca_file, settings.cert_file, settings.key_file, purpose="etcd")
    parts = (endpoint.rpartition(":") for endpoint in settings.endpoints)
    fault = await find_fault([(host.strip("[]"), int(port)) for host, _, port in parts], context)
    return f"{fault}; gRPC says: " if fault else ""


def open_server(index: int, endpoint: str, credentials: Any) -> Server:
    """Open a channel; nothing is sent before the first call."""
    channel = (
        rpc.insecure_channel(endpoint, options=_OPTIONS)
        if credentials is None
        else rpc.secure_channel(endpoint, credentials, options=_OPTIONS)
    )
    return Server(
        index,
        channel,
        kv=rpc.KVStub(channel),
        lease=rpc.LeaseStub(channel),
        watch=rpc.WatchStub(channel),
        auth=rpc.AuthStub(channel),
    )


def _read(file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read {file}: {error.strerror}") from error
