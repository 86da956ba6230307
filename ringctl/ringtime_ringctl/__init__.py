"""The operator's side: the command `ringctl`.

It changes capacity while the ring runs and answers the questions of whoever is on call. It needs no pod of
ours: it reads the store and, in the split deployment, etcd, by the settings the pods have. It holds no lease
and owns nothing, so it can be killed at any moment.

One room a command family, with its commands, what they work out, and their tables and JSON. No room imports
another:

    ring/          ring, nodes, drain, undrain: who owns what, and who is to
    doctor/        doctor: is everything as it should be
    schedules/     schedules, explain, deadletters: what became of a schedule, and another try for it
    recurring/     recurring, calendars: recurring schedules, their runs, and days without any
    resize/        resize: more or fewer partitions while an app works
    apps           apps: register, configure, activate, deactivate, delete
    forecast       forecast: what falls due, against the quota
    audit          audit: who changed what
    accept_loss    accept-loss: go on with a folder that misses something

What they share:

    main           the command group
    shell          `--json`, errors as exit codes, an event loop
    output         tables, JSON, progress
    times, sizing  instants, spans and counts as people write them; callbacks a minute as partitions
    deployment/    the deployment: opened once (`context`, the composition root), read (`ownership`,
                   `probes`), asked by HTTP (`http_calls`, `api`), and changed with an audit entry (`changes`)

Straight to the store, or through the API? Everything is read from the store, and a cancel is written there:
both work while no pod answers. What files rows, a replay or a change of a recurring schedule, goes through
the HTTP API (`--api`): the check after ingest's write keeps a row from being missed, and services never
import each other. So does what is read of recurring schedules: what is to come of them, ingest says.

Names in JSON are the API's (`ringtime_shared.api`), with what only operators need beside them; instants are
ISO 8601 in UTC, durations end in their unit.
"""
