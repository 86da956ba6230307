"""Leases and claims in etcd: the driver of a deployment of several processes.

| key | value | lives |
|---|---|---|
| `{prefix}/nodes/{node}` | JSON: address, capacity, version | with the node's lease |
| `{prefix}/pollers/{app}/{partition}` | name of the owner | with the node's lease |
| `{prefix}/drains/{node}` | JSON: who drained it, and when | until it is undrained, or with that lease |
| `{prefix}/identity` | a random word, written once | for ever |

**Claims.** One transaction carries up to 120 small ones, each `if the key is not there: put it, else: read
it`, so a batch wins what is free and loses the rest in one round trip. The epoch of a term is the key's
`create_revision`. A transaction that is not answered is sent again, which is harmless: what the first one
won is then found there, under this session's lease and younger than the call. What still has no answer after
that raises, and turns up in the view, where the engine releases what it does not run. A release names the
`create_revision` it means, so one that arrives late cannot end a later term.

**One life, one name.** A node name belongs to one lease at a time. `join` waits for the lease of an earlier
life to end (that life may still run and still be trusted; its claims are under that lease and have to be
waited for anyway) and gives up with StartupError after that, because then the other process is alive. A claim
is released only if it is under this session's lease, never because it bears this node's name.

**Lease.** Renewed every third of its TTL, each call with a deadline. The lease is lost when etcd says so
twice, with a read through the quorum in between (a server that just started may not know all its leases yet),
or when no renewal got through for a whole TTL by our own boot clock. After an etcd restart leases come back
with full TTL, so the session goes on. A lost session revokes its lease as soon as etcd answers, so that its
claims become free at once, and lets go of its connections by itself.

**View.** A full load at one revision, then one watch from the next. A broken watch goes on after the last
revision seen; if that was compacted, and every five minutes in any case, everything is loaded again.

**Era.** Epochs only grow while etcd keeps its history. `fetch_identity` names that history: cluster id,
and the word in `{prefix}/identity`, which a wiped etcd does not have. A session whose etcd went back in time
(restored from a backup under it) declares itself lost and removes the word, so the next life gets a new era.
So do all others as soon as they see the word deleted; where somebody has deleted every key under the prefix,
no member would be left in the ring. If all nodes were down meanwhile, it is noticed as soon as somebody takes
over an instance whose marks were written under a later term (`ownership.recovery`), and he does the same by
`forget_history`. `ringctl restored` does it beforehand.

| what fails | what happens |
|---|---|
| etcd down, shorter than the trust window | nothing; the watch catches up |
| longer than the window, shorter than the TTL | not trusted meanwhile, then trusted again, claims kept |
| longer than the TTL | lost; the engine joins anew |
| one of several servers | calls go to the next one; a watch on a silent one moves within 15 s |
| claim not answered, three times | StoreUnavailable or OutcomeUnknown; see above |

Source: etcd's own guarantees (etcd.io/docs, "KV API guarantees"; "lease" in "etcd API"), and kubernetes/
client-go for the deadline shorter than the lease.
"""

from ringtime_shared.coordination.etcd.identity import fetch_identity
from ringtime_shared.coordination.etcd.operator import EtcdOperator
from ringtime_shared.coordination.etcd.session import EtcdSession, RaiseEra

__all__ = ["EtcdOperator", "EtcdSession", "RaiseEra", "fetch_identity"]
