"""From a row that was read to its durable outcome.

    deliverer    has attempts made, and decides what follows each
    attempt      one attempt: what is sent, by which callback type, and what may be told of its end
    following    files the run of a recurring schedule that follows one, before that goes on
    ledger       which rows this node holds, and in which state each is
    queue        what waits: for its slot, then for its turn
    breaker      destinations in trouble, whose rows are filed for later
    policy       what app, schedule and server say about a delivery; when it is tried again
    recording    writes how deliveries ended, or went on; damaged: of rows that cannot be read

Invariant. Each row that a read returned to this node is one item, which enters the ledger once and is let go
once. Until then somebody has it: the timetable until its slot, the follower until it is decided what follows
a run, the queue until its turn, a task while its home row is looked at, the attempt while it is made (with a
task, if something has to be waited for before it is sent), the writer until what is to be written is durable.

| what fails | what becomes of the item |
|---|---|
| an attempt | its next filing, or its dead letter, is written; then it is settled |
| the store | it stays with the writer, open and under way, so `settled` stays below it and a handover waits |
| a write that no store takes | left open, which the log says: the next owner fires it again |
| a bug of ours, wherever it is | the delivery is recorded as a failure; if that fails too, it is left open |
| a row that cannot be read | recorded as a failure, without a lock and without an attempt |
| the definition of a run that cannot be read | the run is recorded as a failure; its chain ends |
| the lease, before a run's step is decided | put back: its step is taken anew |
| the lease, before the send | put back: it waits for its turn again |
| its instance, while it waits | left open at its slot, its turn or its next look, whichever comes first |
| the node | nothing: what was not settled is open in the store, above `settled` |

Proof sketch. A read gives a row to `Ledger.enter`, which takes it only if the instance did not know its key;
so a row has one item. A turn begins with `Ledger.begin`, which gives the lock of a schedule to one item, so
two filings of a schedule are never sent at once. The follower begins an item, too, and puts it
back when what follows is durable. Each way out of a turn ends in a record, in `put_back`, or in `leave_open`:
what is raised in between ends in `Deliverer.end_in_failure`. The writer tells of each
record once, that it is durable or that it is refused, and either lets the item go. The ledger refuses any
second step out of a state, and `settle` alone closes a row, so none is closed whose end is not durable.
"""
