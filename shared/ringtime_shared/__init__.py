"""What every Ringtime service shares: models, ids, clocks, settings, errors, protocols, the ring.

Layers, each importing only those below it (import-linter holds this):

    stores.*, coordination.*   drivers: each imports one client library, none knows another
    stores.protocol, coordination.protocol
    ring, placement, marks     pure rules
    models, ids, errors, clock
"""
