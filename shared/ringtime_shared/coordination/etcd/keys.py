"""Where things lie under the prefix, and how they are written."""

from __future__ import annotations

from sys import intern
from typing import NamedTuple

import msgspec

from ringtime_shared.coordination.protocol import Drain, Member
from ringtime_shared.models.app import Instance


class NodeKey(NamedTuple):
    """The key of a member."""

    node: str


class DrainKey(NamedTuple):
    """The key of a drain."""

    node: str


class _Node(msgspec.Struct, omit_defaults=False):
    address: str = ""
    capacity: float = 1.0
    version: str = ""
    most: int | None = None


class _Drain(msgspec.Struct):
    operator: str = ""
    since_ms: int = 0


class Layout:
    """The keys of one deployment."""

    def __init__(self, prefix: str) -> None:
        self.start = f"{prefix}/".encode()
        self.end = f"{prefix}0".encode()  # "0" follows "/"
        self.identity = f"{prefix}/identity".encode()
        self._nodes = f"{prefix}/nodes/".encode()
        self._pollers = f"{prefix}/pollers/".encode()
        self._drains = f"{prefix}/drains/".encode()

    @property
    def drains(self) -> tuple[bytes, bytes]:
        """The first key of all drains, and the first behind them."""
        return self._drains, self._drains[:-1] + b"0"

    def node_key(self, node: str) -> bytes:
        return self._nodes + node.encode()

    def claim_key(self, instance: Instance) -> bytes:
        return b"%s%s/%d" % (self._pollers, instance.app_id.encode(), instance.partition)

    def drain_key(self, node: str) -> bytes:
        return self._drains + node.encode()

    def parse(self, key: bytes) -> NodeKey | DrainKey | Instance | None:
        """Return what a key is about, None for a key of another kind."""
        if key.startswith(self._pollers):
            app_id, _, partition = key[len(self._pollers) :].decode(errors="replace").rpartition("/")
            # One text for all partitions of an app: there may be a hundred thousand keys.
            return Instance(intern(app_id), int(partition)) if app_id and partition.isdecimal() else None
        if key.startswith(self._nodes):
            return NodeKey(key[len(self._nodes) :].decode(errors="replace"))
        if key.startswith(self._drains):
            return DrainKey(key[len(self._drains) :].decode(errors="replace"))
        return None


def to_value(member: Member) -> bytes:
    return msgspec.json.encode(_Node(member.address, member.capacity, member.version, member.most))


def parse_member(node: str, value: bytes) -> Member:
    """Read a node's value; one that cannot be read is a member all the same, of default weight."""
    try:
        read = msgspec.json.decode(value, type=_Node)
    except msgspec.DecodeError:
        read = _Node()
    capacity = read.capacity if read.capacity > 0 else 1.0
    most = read.most if read.most is None or read.most > 0 else 1
    return Member(node=node, address=read.address, capacity=capacity, version=read.version, most=most)


def drain_to_value(drain: Drain) -> bytes:
    return msgspec.json.encode(_Drain(drain.operator, drain.since_ms))


def parse_drain(node: str, value: bytes, lease: int) -> Drain:
    """Read a drain's value; one that cannot be read is a drain all the same, made by hand perhaps."""
    try:
        read = msgspec.json.decode(value, type=_Drain)
    except msgspec.DecodeError:
        read = _Drain()
    return Drain(node=node, operator=read.operator, since_ms=read.since_ms, ends_with_node=bool(lease))
