"""The operator's side: the command `ringctl`.

It changes capacity while the ring runs and answers the questions of whoever is on call. It needs no pod of
ours: it reads the store and, in the split deployment, etcd, by the settings the pods have. It holds no lease
and owns nothing, so it can be killed at any moment.

    main           the command group
    shell          `--json`, errors as exit codes, an event loop
    context        options and the open deployment; the composition root
    output         tables, JSON, progress
    changes        the audit entry of every change
    commands/      one file a command: options, I/O, tables
    the others     what the commands show and plan, as pure functions

Straight to the store, or through the API? Everything is read from the store, and a cancel is written there:
both work while no pod answers. A replay goes through the HTTP API (`--api`), because only ingest files rows:
the check after its write is what keeps a row from being missed, and services never import each other.

Names in JSON are in camel case, as in the HTTP API; instants are ISO 8601 in UTC, durations end in their
unit.
"""
