"""Change how many partitions an app has, while it creates and fires. No step needs the tool to stay alive.

An app's map is two numbers: new rows go to partitions below `writable`, dispatchers poll those below
`polled`.

Invariant
---------
    1. At every moment writable <= polled, and every acknowledged row that has no outcome lies below `polled`.
    2. One resize an app at a time: who changes the map has read, in the version it replaces, the note of its
       own resize, or none.

Steps
-----
Each is one conditional write on the app's version, so two operators never mix, and a step repeated after a
lost answer is the same step. `steps` has them as pure functions; `runner` asks the app where it is before
each.

    grow     polled = N, noted  ->  every new poller instance is owned  ->  writable = N, note gone
    shrink   writable = N, noted  ->  recurring schedules moved, quiet  ->  no recurring schedule is left, and
             nothing above `settled`  ->  polled = N, note gone
    abort    grow: polled = what it was. Shrink: writable = what it was. Note gone

*Owned*: a dispatcher that takes a poller instance over writes its marks under its term, which is higher
than any before. The note holds the highest that the new ones had; or they are sealed after the note was
made. A dispatcher that never noticed that a partition was gone shows neither for long, so a grow first sees
to it that those it adds are let go. Nothing depends on this but promptness. A deactivated app is polled by
nobody, so it does not wait.

*Quiet*: more than `ingest.map_age_ms`, and `ingest.write_deadline_ms` to spare, on this process's own boot
clock, from when it read that `writable` is lowered, and had then counted a change of the app itself. A
process that resumes counts anew. So no clock of another machine takes part, and there is no moment to store:
one written beside the change would be from before it was durable, and the writer may have slept in between.
Nor does it matter whether the writer lived to count its change: ingest follows what is counted
(`ringtime_shared.apps.feed`).

*Nothing left*: read `settled` of the old partitions, *then* the app's non-empty buckets above it, *then*,
in the bucket `settled` stands in, the highest slot of any row, live or not. See `evidence`.

*Moved*: a recurring schedule files each run in the partition of the one before, so a shrink would wait for
its end. It is changed into a version that files them in a partition that stays
(`ringtime_shared.schedules.chain_repair`). That is one conditional write on the definition, which repeated
finds nothing to do. The run it has filed already is left where it is until it comes due, and ends there as
superseded. Ingest on an older map may put another one there within the quiet time, and moves it; if it dies
first, the last look does.

A partition that comes back begins with marks a minute ago and not where it ended, or its new owner would
walk every minute since. It was empty when it was released, and whatever is filed in it later has a later
slot, so these marks are true whoever writes them late.

| what happens | what follows |
|---|---|
| killed, Ctrl-C, machine lost, at any point | the app works on with the map it has; `--resume` or `--abort` |
| killed just after its last step | what is released may be owned, idle, until all apps are read: a minute |
| no dispatcher runs | a grow stays polled and not writable: exit code 3 |
| a recurring schedule is changed as it is moved | the change is made, on the newer map |
| rows a month ahead | a shrink lasts a month; creates left at once; the plan says until when |
| another operator begins | refused, with the name and time in the note |
| another operator resumes, or aborts | the first one finds another note, or none, and ends |
| the app is configured meanwhile | the version differs: the step reads again |
| the app is deactivated | a grow ends without owners; a shrink with rows ahead waits for the activation |
| the store is away | before the first change: nothing; later: tried again until the time is up |
| an answer is lost | the app is read: a version is one change, so it shows which one was made |
| ingest pod frozen over a shrink and release | its check reads the map anew, and files the row elsewhere |
| dispatcher frozen with the old map | its lease ends; what it files late in an old partition is done |
| settings that are not the pods' | not safe: `map_age_ms` and `max_future_period_days` must be no less |

Proof sketch
------------
*No row comes late.* Ingest acknowledges a row in partition p only if it was durable before the end of
`map_age_ms` after a moment up to which a map with p < writable was proved, or before such a moment
(`ringtime_ingest.service.commit`). A map is proved up to a moment if it shows every change that was durable,
and counted, by then: because it was read from the store after it, or because the count of changes, read after
it, was the one from before the map was read. So no such moment lies after `writable` was lowered to p or
less, durably, and counted; and a row in p that is ever acknowledged was durable less than `map_age_ms` after
that. The quiet time begins later: the one who waits has counted, whoever else has or has not. The
look of the release begins later than that: it misses none. It must not matter that p is polled still:
between the look and the release a pod that has slept could file a row, read the map, find p polled, and
acknowledge.

*No row slips through the look.* Beside ingest only p's owner files rows in p: a retry or a parked row,
durable before the row it follows is closed, and so before `settled` passes that one. Take any row in p
without an outcome when the release is made, and go back along the filings it follows, up to the first that
was durable before `settled` was read. Either that one was the row itself, or a filing that was not closed
at that moment (its successor was not durable, and comes before the closing). Either way it lies above the
`settled` that was read, its bucket's entry was durable with it, and so was the row: the reads that follow
see them, and the release is not made. Were the buckets read first, a retry could be filed, and its
predecessor closed and passed by `settled`, in between. Were only live rows counted, one read could miss the
retry and see its predecessor closed. Marks of older terms cannot mislead: each was true when it was
written, and stays so.

*Nothing is opened unpolled, or unpolled open.* A grow raises `writable` in a version that has polled = N; a
shrink lowers `polled` to its own `writable`; an abort of a grow lowers `polled` to a `writable` that was
never raised, where nothing was filed since the partitions were last released.

All of it is played in tests/cluster (`resize_world`), with planted bugs: no quiet time, no look, marks read
last, opened before polled, and ingest keeping a row in a partition that is not writable. Each loses rows.

Source: goscheduler changes the number of partitions in place and strands the rows of those that go. Temporal,
PagerDuty and Dynein fix theirs (or let it only grow). Two numbers instead of generations, because
partitions are a prefix, and a row's place is in its key.
"""
