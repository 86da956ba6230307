"""Who may do what: API keys, what they grant, and how a pod knows that a key is good.

| module | does |
|---|---|
| `grants` | `Scope`, `Grant`, `Caller`: what one may do, with whose apps, and who asks |
| `keys` | the form of a key, its record, what a store keeps of it, and its life: issue, revoke, forget |
| `checks` | the keys as one process knows them: from the header of a request to a `Caller` |

Invariant. A request is let in by a key only on the word of a read of the store that began at most
`FRESH_MS`, 5 s, before, on the boot clock of this process, and that found the key not revoked. So no request
is let in later than 5 s after its revocation was acknowledged, on any pod.

Proof sketch. A revocation that is acknowledged is seen by every read that begins later: both go to a quorum
of Cassandra, or to one SQLite file whose readers see what is committed. What a read has found is kept with
the instant before it was sent, and is used for 5 s from then, whatever became of the reads after it. A read
that began before the acknowledgement therefore lets nobody in later than 5 s after it. The boot clock counts
suspension, so a process that slept asks again. A revocation is never taken back: what a store keeps of it is
written by `revoke_key` alone, and a key that is put twice is still revoked.

The secret is never kept: a store has the SHA-256 of the whole key, and so has the memory of a pod, by the
key's id. A hash that is slow on purpose would be of no use, as nobody guesses 256 random bits. Digests, all
of one length, are compared by `hmac.compare_digest`; where there is no such key, with the digest of none.

| what fails | what happens |
|---|---|
| a key is mistyped, or is none | refused by its form and checksum, without a look at the store |
| a key is unknown, revoked, expired, or its secret wrong | refused, in the same words for all of them |
| the store is away | a key that was read within 5 s goes on; then 503, for nobody is let in unproved |
| the store is slow | a key in use is read again from 3 s on, and what is known lets its requests in |
| a flood of keys that nobody has | 64 requests may wait for reads of ids unknown here, others try again |
|  | An id is read once at a time, and not again in 5 s. Keys in use are read beside that |
| two data centres, by LOCAL_QUORUM | the other one hears of a revocation when it is replicated there |
| very many keys | the 10,000 that were read last are known, and as many ids that are none |
| what is stored of a key cannot be read | that key is refused, and the log says why |
| this node's wall clock is off | keys expire as much too early or late; revocation does not depend on it |
| a pod dies | when a key was used last may be a minute old anyhow |

Source of the form, a prefix and a checksum by which a scanner finds keys that were leaked: GitHub, "Behind
GitHub's new authentication token formats", 2021.
"""

from ringtime_shared.access.checks import KeyChecks
from ringtime_shared.access.grants import ANYBODY, EVERYTHING, Caller, Grant, Scope, caller_to_json
from ringtime_shared.access.keys import ApiKey, KeyStore

__all__ = [
    "ANYBODY",
    "EVERYTHING",
    "ApiKey",
    "Caller",
    "Grant",
    "KeyChecks",
    "KeyStore",
    "Scope",
    "caller_to_json",
]
