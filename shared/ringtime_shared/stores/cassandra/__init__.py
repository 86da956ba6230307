"""Cassandra 5: the store of the distributed service.

Keys. A row is filed under ((app, partition, minute), slot, id): polling a poller instance's minute and
reading a schedule by id each touch one partition, because an id says where its row is.

No LWT, no logged batch, no view and no delete on the hot path:

- Create, cancel, move and outcome write columns of their own, so no clock decides between them, and a
  create that is repeated late undoes nothing.
- Cells end by TTL, rows are read only if their create columns are there (`rows`).
- Outcomes and pointers carry the timestamp of when they were written first, also when they are written again,
  by this driver or by its caller: they undo nothing that was written since.
- Marks are fenced by write timestamp (`marks`). Apps, counters and the era are LWTs, which are rare.
- Index entries ride in the batch of their rows, and are left out once this process has had them
  acknowledged. An entry outlives every row it stands for.
- So do arrivals, the word of rows that are filed near; of rows further off nothing is written (`arrivals`).
  A batch with them spans partitions, so of a near row nobody can say that it was surely not written.

| what fails | what the caller gets |
|---|---|
| no node takes the request; too few replicas, of a write within one partition | StoreUnavailable |
| no answer, connection lost, write timeout: tried once more, then | OutcomeUnknown; reads: StoreUnavailable |
| some batches of a call fail, others do not | OutcomeUnknown |
| a statement is refused (schema, permission, size) | StoreUnavailable, at once |
| an LWT gets no answer | it is read back at SERIAL and decided anew |
| one of three nodes dies | rows go on (`speculative_retry`); LWTs may fail for some 10 s |

Cost. Values of hot statements are serialised here (`rows`), and everyday statements go straight to a node
(`direct`) on the event loop (`loop_connection`); all else is the driver's (`bridge`).

Clocks. Where one column has several writers (a forward pointer that is advanced), the time of the write
decides, by the watched clock of the process (`cluster.WriteTimes`), as TTLs do; apps and marks do not
depend on it. What time it is on each host can be asked (`meta`).

Schema. `migrate` applies `cql/*.cql`; `CassandraStore.connect` refuses a schema it does not know. TTLs past
2038 need `storage_compatibility_mode: NONE` on the server.
"""

from ringtime_shared.stores.cassandra.migrate import migrate
from ringtime_shared.stores.cassandra.store import CassandraStore

__all__ = ["CassandraStore", "migrate"]
