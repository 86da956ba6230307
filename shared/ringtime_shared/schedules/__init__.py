"""What is done with schedules that are filed, by clients and operators alike.

| module | holds |
|---|---|
| `changing` | another time, payload or callback under the same id: which filing is in force |
| `cancelling` | the cancel, and what it promises |
| `bulk` | one action on a time range, asked for and cancelled |
| `row_filter` | which schedules a list shows |
| `rows_ahead` | where an app may have rows that are still to fire |
| `chain_repair` | which chains of recurring schedules have broken, and how one is begun anew |
"""
