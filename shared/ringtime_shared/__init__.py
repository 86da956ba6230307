"""What every Ringtime service shares: models, ids, clocks, settings, errors, protocols, the ring.

Layers, each importing only those below it (import-linter holds this):

    stores.*, coordination.*   drivers: each imports one client library, none knows another
    apps, schedules            what clients, operators and services do with them in the same way
    auditing                   who asked for a change, noted before it is made
    stores.protocol, coordination.protocol
    ring, recurring, callbacks pure rules
    api                        names and shapes on the wire
    models, ids, errors, clock

The HTTP client is installed with `api`, `models` and what these need, and with nothing else of this package,
which is why this module imports nothing.
"""
