"""The side that fires: owns poller instances, reads their rows in time, delivers, records.

Three marks describe how far the owner of a poller instance is (slots, in ms):

    ---- settled ------------- sealed ----------- front ------> time
      every row has          finally read:       read so far,
      its outcome            nothing unseen      now + 300 ms

- `reading.polling` moves the front: each tick it reads what has arrived, and the rows that come due within
  the read-ahead. That is shorter than ingest's commit margin, so a row is read past only if its write took
  longer than the difference; its arrival has it read all the same.
- `reading.sealing` publishes `sealed`, *then* reads all up to it once more, then lets `settled` follow: for
  those with rows when their minute is over, for the others each two minutes.
- `ownership` claims what the ring gives this node, and starts a new term at `settled`.
- `delivery` fires each row at its slot, and records how that ended; its ledger has every row the node holds.
- `callbacks` are the callback types that ship. `engine` puts all of it together and runs the loops.
- `forecasting`, on one node for all, looks for apps with more ahead than their quota carries.

Invariant. A row that was acknowledged is at every moment either above its instance's `settled` mark, or
has a durable outcome, a durable cancel, or a durable later filing for which the same holds.

| what fails | what happens |
|---|---|
| node dies | its lease ends; the next owner starts at `settled`; rows in flight or unrecorded fire again |
| node pauses past its lease | it sends nothing it had not begun; its marks carry an older term and lose |
| the store is away | marks stand still; sending stops once `max_in_flight` outcomes wait in memory |
| coordination is away | the node fires until its trust window ends, then waits |
| a create lands after its slot was read | its arrival tells, else the final read; or it is filed again |
| a retry lands after its slot was read | the same: the check before anything points at it files it again |
| a callback hangs | its deadline ends it; others have attempts of their own under the caps |
| a destination is down | after a few failures in a row its rows are filed for later, without attempts |

Proof sketch. `settled` moves only to `min(checked, oldest open row - 1)`. `checked` moves to S only after
`sealed = S` was durable and a full read of (checked, S] came back later, so a row in that range that
the read did not see was not durable when it began; ingest's check after its write then reads
`sealed >= S` and files the row again (see `ringtime_ingest.service.commit`). A row the read did see is open
until its outcome is durable. Marks of an older term cannot raise `settled`, because a new owner
writes the marks it read under its own term before it uses them. A later filing, too, is checked against
`sealed` between its own write and that of what points at it (see `delivery.recording`), by whatever node has
tried the earlier one, owner or not any more; so the invariant passes on to it.
"""
