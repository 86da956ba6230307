"""The move of an app from goscheduler, and back: what holds while both have its schedules.

The API of Ringtime stands in front. A create for an app in shadow is made at goscheduler first and then filed
here, with goscheduler's id as its `twin`. What goscheduler is given to call is our tap, with a signed ticket
that holds the fire time and the real receiver; so both sides stand before one question when a schedule comes
due, and answer it in the same way:

    create of t -> goscheduler, to call the tap at t; then filed here, due at t, with a twin

                               t before every handover     t after a handover to Ringtime
    goscheduler calls the tap  passed on to the receiver   kept: it goes no further
    the row here comes due     noted, sent to nobody       sent, as any row

Who delivers is `side_of(shadow, fire time)`, a function of what never changes: the fire time of a row with a
twin, and the handovers, which are added to and never taken back. It is no question of when either side comes
to it: one that is late, early, tried again or found after a crash has the same answer. A row without a twin
(filed before the shadow began, or after it was over) is Ringtime's, whatever the handovers say; goscheduler
knows nothing of it.

Invariant. A create that was acknowledged is delivered by exactly one side's rules: by goscheduler, as well as
goscheduler does it, if `side_of` says so; else by Ringtime, at least once and by one owner at a time.

Proof sketch. A create is acknowledged only when both have it: goscheduler has said so, then the row is
durable. Let t be its fire time. If two processes have different answers for t, they read different handovers,
of which one, H, is not after t, and one of them had not read it. H was asked for at a, with H >= a + LEAD_MS,
and written before a + WRITE_MS, by a clock that is off by less than CLOCKS_MS. Nobody asks before t -
EARLY_MS, and nobody answers on a reading of the app older than STALE_MS. LEAD_MS is the sum of these four, so
each reading was begun after H was written, and has it. A handover that was asked for is put off by the same
rule, so nobody has acted on it then. Hence the answer is one: if it is goscheduler, the dispatcher notes
that and sends nothing while the tap passes on every call, the repeated ones too, as goscheduler's own
retries are; if it is Ringtime, the tap keeps every call and the dispatcher sends. Neither both nor none.

| what happens | what comes of it |
|---|---|
| goscheduler cannot be reached at a create | UPSTREAM_UNAVAILABLE; nothing is filed anywhere |
| goscheduler refuses it | its refusal is the answer; nothing is filed |
| it gives no answer, or a 500 | OUTCOME_UNKNOWN; not filed here, and if it is there, its call goes as any |
| it has it, and our write fails | it is deleted there, or the answer is OUTCOME_UNKNOWN |
| a cancel does not get through to it | the same answers; nothing is cancelled here, so try again |
| goscheduler calls before t - EARLY_MS - CLOCKS_MS | refused: the answer might be another one later |
| goscheduler calls twice, or on two nodes | both calls pass, or none; the report lists it as a double |
| the receiver refuses a call that passed | its answer is goscheduler's, which tries again as it does |
| no pod of Ringtime takes the call | goscheduler tries again at once, then FAILURE: the tap is on the way |
| the store is away | the tap goes on, on a reading up to STALE_MS old; then 503. The report misses these |
| a pod dies between the answer and its note | the report misses that call: a gap to look at |
| the row comes due late, or is found by the next owner | the same answer, by its fire time |
| a process has not read yet that a shadow began | it files without a twin; a row with one is goscheduler's |
| a pod has not read yet that it is over | it forwards, and the tap keeps the call |
| an operator ends the shadow | only while Ringtime delivers; goscheduler's calls are kept for ever |
| the schedule is to be changed | refused while the app is in shadow: goscheduler cannot change one |

Why both must have a create also after the handover to Ringtime: only so is there a way back. An operator who
does not want creates to depend on goscheduler any more ends the shadow.

| module | does |
|---|---|
| `ringtime_shared.models.shadow` | `Shadow`, with `side_at`; `Tap`, a call as it is kept |
| `moves` | what an operator may say, and when |
| `tickets` | what the tap is called with |
| `report` | what one side did against what the other did |
| `ringtime_ingest.shadow` | forwards creates and cancels, and is the tap |
"""
