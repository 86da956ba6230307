"""The transactions, as etcd wants them, and what their answers say.

Each is a list of small transactions within one: every key is decided by itself, all at one revision.
etcd counts the operations of the outer and of one inner transaction against `--max-txn-ops` (128).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from ringtime_shared.models.app import Instance

PACK = 120  #: keys in one transaction


def absent(key: bytes) -> Any:
    return rpc.Compare(key=key, result=rpc.Compare.EQUAL, target=rpc.Compare.CREATE, create_revision=0)


def present(key: bytes) -> Any:
    return rpc.Compare(key=key, result=rpc.Compare.GREATER, target=rpc.Compare.CREATE, create_revision=0)


def created_at(key: bytes, revision: int) -> Any:
    return rpc.Compare(key=key, result=rpc.Compare.EQUAL, target=rpc.Compare.CREATE, create_revision=revision)


def under_lease(key: bytes, lease: int) -> Any:
    return rpc.Compare(key=key, result=rpc.Compare.EQUAL, target=rpc.Compare.LEASE, lease=lease)


def has_value(key: bytes, value: bytes) -> Any:
    return rpc.Compare(key=key, result=rpc.Compare.EQUAL, target=rpc.Compare.VALUE, value=value)


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def get(key: bytes) -> Any:
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))


def delete(key: bytes) -> Any:
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def put_if_absent(key: bytes, value: bytes, lease: int = 0) -> Any:
    """Return the transaction `if the key is not there: put it, else: read it`."""
    return rpc.TxnRequest(compare=[absent(key)], success=[put(key, value, lease)], failure=[get(key)])


def claim_all(keys: Sequence[bytes], owner: bytes, lease: int) -> Any:
    return _together([put_if_absent(key, owner, lease) for key in keys])


def release_all(terms: Sequence[tuple[bytes, int]], lease: int) -> Any:
    """Delete each of the keys that is still of the term with that epoch, and of that lease."""
    return _together(
        [
            rpc.TxnRequest(
                compare=[created_at(key, epoch), under_lease(key, lease)],
                success=[delete(key)],
            )
            for key, epoch in terms
        ]
    )


def read_won(reply: Any, instances: Sequence[Instance], *, lease: int, after: int) -> dict[Instance, int]:
    """Return what a `claim_all` won: put by it, or by an attempt of the same call whose answer was lost.

    The second kind is known by its lease and by being younger than revision `after`, where the call began.
    """
    won = {}
    for instance, operation in zip(instances, reply.responses, strict=True):
        single = operation.response_txn
        if single.succeeded:
            won[instance] = reply.header.revision
            continue
        for claim in single.responses[0].response_range.kvs:
            if claim.lease == lease and claim.create_revision > after:
                won[instance] = claim.create_revision
    return won


def _together(singles: Sequence[Any]) -> Any:
    return rpc.TxnRequest(success=[rpc.RequestOp(request_txn=single) for single in singles])
