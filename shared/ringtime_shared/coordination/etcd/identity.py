"""Which history of etcd this is: revisions, and so epochs, can be compared only within one."""

from __future__ import annotations

import secrets

from aetcd import rpc

from ringtime_shared.coordination.etcd.connection import Connection
from ringtime_shared.coordination.etcd.keys import Layout
from ringtime_shared.coordination.etcd.requests import delete, has_value, put_if_absent
from ringtime_shared.errors import OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.settings import CoordinationSettings

_ATTEMPTS = 3


class HistoryChanged(Exception):
    """etcd is not the one this session joined, or went back in time. Never leaves the driver."""


async def fetch_identity(settings: CoordinationSettings) -> str:
    """Return what `MetaStore.raise_era` is to be called with. Raises StartupError naming the endpoints."""
    connection = Connection(settings)
    try:
        return await read_identity(connection, Layout(settings.prefix))
    finally:
        await connection.close()


async def read_identity(connection: Connection, layout: Layout) -> str:
    """Return the cluster's id and the word under the prefix, written now if there is none yet."""
    word = secrets.token_hex(8)
    request = put_if_absent(layout.identity, word.encode())
    failure: Exception | None = None
    for _ in range(max(_ATTEMPTS, len(connection.endpoints))):
        try:
            reply = await connection.txn(request)
        except (StoreUnavailable, OutcomeUnknown) as error:
            failure = error
            continue
        if not reply.succeeded:
            word = reply.responses[0].response_range.kvs[0].value.decode(errors="replace")
        return f"{reply.header.cluster_id:x}-{word}"
    fault = await connection.certificate_fault()
    raise StartupError(f"cannot use etcd at {', '.join(connection.endpoints)}: {fault}{failure}") from failure


async def forget_identity(connection: Connection, layout: Layout, identity: str) -> None:
    """Let whoever joins next find no word, and get a new era; if another session was faster, the word is no
    longer the one of `identity`."""
    word = identity.partition("-")[2].encode()
    await connection.txn_again(
        rpc.TxnRequest(compare=[has_value(layout.identity, word)], success=[delete(layout.identity)])
    )


async def check_history(connection: Connection, layout: Layout, identity: str, revision: int) -> None:
    """Raise HistoryChanged unless etcd has this identity and everything up to `revision`."""
    reply = await connection.fetch_range(rpc.RangeRequest(key=layout.identity))
    word = reply.kvs[0].value.decode(errors="replace") if reply.kvs else ""
    if f"{reply.header.cluster_id:x}-{word}" != identity:
        raise HistoryChanged("etcd was wiped, replaced, or its identity was removed")
    if reply.header.revision < revision:
        await forget_identity(connection, layout, identity)  # epochs would be given out a second time
        raise HistoryChanged(f"etcd went back from revision {revision} to {reply.header.revision}")
