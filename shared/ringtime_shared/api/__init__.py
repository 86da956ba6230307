"""The one vocabulary of the API: names on the wire, JSON shapes, limits, units and instants.

What is said here is said nowhere else: ingest writes and reads by it, the client reads by it, ringctl prints
by it, and OpenAPI is made from it. It needs the models, msgspec and orjson, and nothing that serves, stores
or calls.

| module | holds | written by |
|---|---|---|
| `configuration` | what an app or a schedule may set | `configuration_to_json`, `retry_to_json` |
| `apps` | app, signing secret | `app_to_json`, `secret_to_json` |
| `schedules` | schedule, attempt | `schedule_to_json`, `attempt_to_json` |
| `recurring` | recurring schedule, its runs, preview | `recurring_to_json`, `runs_to_json` |
| `times` | when a recurring schedule runs, calendar, preview | `times_to_json` and the like |
| `dead_letters` | dead letter, replay, sizes of pages | `letter_to_json`, `replays_to_json` |
| `batches` | the results of many creates or cancels | `batch_to_json` |
| `failures` | the envelope of an error | `failure_to_json` |
| `instants` | epoch seconds, ISO 8601 | `to_iso`; read by `parse_instant`, `parse_delay` |
| `ids` | the forms of ids | checked by `check_app_id` and the like |
| `views` | how all these are declared | read by `read` |

To show a model, call its `..._to_json` and add keys of your own: `letter_to_json(letter) | {"slot": ...}`. To
read an answer, `read(DeadLetterPage, data)`; an app has `read_app`.

The names: `httpCode` an HTTP status, `errorMessage` why an attempt failed, `durationMs` how long it took,
`lagMs` how late it was sent, `fireTime` the instant asked for, `firedAt` when the last attempt was sent,
`failedAt` when it was given up, `nextAttemptAt` when it is due again. Instants end in `At` or `Time`,
durations in their unit.

What can be set is a table: `configuration.keys()` by names with dots, `models.setting.entries_of` by model.
"""
