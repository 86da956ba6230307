"""Reading the rows of owned poller instances in time, and proving that none was missed.

What a node pays for follows what is due, and what is filed near; not how many instances have rows somewhere
in this minute. Two ways lead to a row, and they share nothing but the store:

**Promptness** (`polling`, `feed`, `ownership.minute`). A row is read when it is known to come due:

    20 s before a minute   its index is read, once: who has rows in it
    until it begins        one look each at the slots of these rows; no payloads, at most 500 at a time
    each tick, 200 ms      arrivals: what was filed since, into minutes whose index was read; then the rows of
                           those instances that have a known slot within the read-ahead

Where no arrival was new for 10 s and nothing is known to come due, only every other tick looks at arrivals:
each 400 ms, two thirds of the commit margin. What is left is enough for a write and a read.

So an instance with one row in a minute costs one look, one read and one final read. What is not known is
read, never waited for: a bucket that nobody looked at yet, one of a takeover, and what lies beyond 500
slots is read tick by tick, as if a row were always due there, until a look says otherwise. There is no look
while each of these reads has more than a few rows: it would be one read more of each, and save none.

**Proof** (`sealing`). Nothing above is relied on. `sealed = S` is published, *then* the index and the ids in
(checked, S] are read again, *then* checked = S, and `settled` follows what has outcomes.

Invariant. A row that was acknowledged is above `checked`, or some read of this term has returned it.

Proof sketch. Only the final read moves `checked`, and it asks for everything in (checked, S], whatever was
known of it. A row it did not return was not durable when it began, and so not when `sealed = S` was
published; its filing, checked after its write, then finds `sealed >= slot` and files it again
(`ringtime_ingest.service .commit`). Rows at or under `checked` that an older read returns late were
returned before, and are passed over. Nothing that may still be read is sealed: S stays under the next slot
the instance is known to have unread. What arrivals do is to bring a row forward from its minute's final
read to its slot.

Who is sealed when. An instance with rows, when its minute is over (within 22 s), or before, if it or the
node holds too many rows that only a seal lets go of, or a resize waits for its `settled`. One without rows,
each 2 minutes (`dispatch.idle_seal_minutes`), half of them each minute, by one write: `settled` follows with
the next. The index of a minute is read once more behind its end for everybody, so that the first row of an
idle instance need not wait for its turn. The turn reads the minute before, too, and brings whoever has rows
by then up to their minute. So an entry of the index is read two and a half times: before its minute, behind
it, and every other one by the turn of the next. More seldom would save writes and cost reads, for what is
read finally has to be read behind the publish of the instance's own `sealed`.

| what fails | when its row is read |
|---|---|
| nothing | before its slot |
| its write took longer than commit margin less read-ahead | the tick after it is announced |
| the same, or longer than 190 ms, and it is the first for 10 s | at most two ticks after it is announced |
| its announcement is seen later than the look-back | by a sweep: up to 10 s after it was written |
| its announcement is lost, or later than 12 s | at the end of its minute: 62 s late, 82 s if many end |
| the same, written after that, to an idle instance | at its turn: 2 minutes |
| its announcement comes twice | as with one; the second costs a read at most |
| no arrivals were read for a minute | everything known is forgotten, the index read again |
| the index or a look cannot be read | the tick ends, and is tried again; what is known stays |
| there are more looks than a tick may take | the bucket is read tick by tick once its minute began |
| memory is full | oldest slot first, each app in its share of what is free (`delivery.ledger`) |

Bounds. Of a bucket with rows a node keeps at most 500 slots of two bytes ahead of the front, and the rows
read and not sealed yet (`dispatch.seal_rows`, `dispatch.seen_rows`); the arrivals of the last 12 s, once
each; and of an instance without rows nothing here.
"""
