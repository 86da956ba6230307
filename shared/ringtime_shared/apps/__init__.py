"""Apps: what holds of one, how it is changed and how it ends. Clients, operators and both services share it.

| module | holds |
|---|---|
| `rules` | what an app may be called, and what it may ask for |
| `retry_rules`, `hook_rules` | what an app and a schedule may ask for in the same way |
| `states` | what may become of an app: active, deactivated, on its way out |
| `changes` | the one way to change a stored app |
| `deleting` | how one is deleted while others create and fire |
| `feed` | all apps in memory, as fresh as one small read can prove |
| `reference` | the page of what an app may set |
"""
