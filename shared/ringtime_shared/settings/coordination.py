"""The dispatcher's place among others: etcd, and the node itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

HostPort = Annotated[str, Meta(pattern=r"^[^\s:/]+:\d{1,5}$|^\[[0-9a-fA-F:.]+\]:\d{1,5}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinationSettings:
    """The etcd cluster that holds leases and claims. Not used by the one-process product."""

    endpoints: Annotated[tuple[HostPort, ...], Meta(min_length=1)] = ("127.0.0.1:2379",)
    """The etcd servers, each `host:port`. Name several: one that answers is enough."""

    prefix: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9_./-]*[A-Za-z0-9_.-]$")] = "/ringtime"
    """Start of every key. Two deployments may share an etcd under two prefixes."""

    ttl_s: Annotated[int, Meta(ge=2, le=300)] = 10
    """Life of a lease that is not renewed, in seconds. A crashed node is replaced about 2 s after it."""

    margin_ms: Annotated[int, Meta(ge=100, le=60_000)] = 3_000
    """How long before its lease can end a node stops acting as an owner, in milliseconds. Less than
    `ttl_s`; covers the time between the check and the send."""

    join_debounce_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5_000
    """How long the list of nodes must stand still before poller instances move, in milliseconds."""

    dwell_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 30_000
    """Least time between two moves of one poller instance, in milliseconds, so that a node that comes
    and goes does not drag them along."""

    on_loss: Literal["stop", "continue"] = "stop"
    """What a node does when etcd is away longer than its lease is trusted. `stop` never sends twice;
    `continue` keeps firing, and sends twice what another node was given."""

    username: str = ""
    """User name at etcd; empty: no login."""

    password: str = field(default="", repr=False)
    """Password at etcd."""

    ca_file: str = ""
    """Certificates that etcd's own must be signed by, a PEM file; empty: no TLS."""

    cert_file: str = ""
    """Client certificate, a PEM file; goes with `key_file`."""

    key_file: str = ""
    """Key of the client certificate, a PEM file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What this process tells the others about itself."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,128}$")] = ""
    """Name of the node, different on each; empty: made from the host name and the process id."""

    address: str = ""
    """Where people and probes reach this node, `host:port`; shown, not used, by other nodes."""

    capacity: Annotated[float, Meta(ge=0.1, le=100)] = 1.0
    """Weight in the ring: a node of 2 gets twice the poller instances of a node of 1."""

    status_ms: Annotated[int, Meta(ge=0, le=60_000)] = 5_000
    """How often a dispatcher writes what the dashboard and `GET /goscheduler/nodes` show of it, in
    milliseconds: one small write each time. 0: never, and they show nothing of it."""
