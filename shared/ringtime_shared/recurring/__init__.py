"""When recurring schedules run. Pure: no I/O but reading the pinned zone files, no clock, `now` is passed in.

| module | holds |
|---|---|
| `parsing` | `parse_times`: from the API's JSON to `models.times.Times`, or every rule that was broken |
| `runs` | `next_after`: which run follows which; `preview`: the next runs, and what makes none |
| `rules` | cron expressions and calendar intervals, on wall times without zone |
| `calendars` | `parse_calendar`: the days on which nothing runs, also from ICS; `merge` |
| `zones` | the pinned time zones, as periods of one offset |

Invariants
----------
1. *A function of the definition.* Run k + 1 follows from `Times`, the nominal time and index of run k, what
   its calendars say, and the definition's key. Whoever computes it, at any time and on any node of one
   release, comes to the same run; so a chain that a crash cut goes on where it was.
2. *Strictly increasing.* Nominal times increase, and so do effective ones: a definition has one place in its
   windows, and a share of a window never reaches the next nominal time. Planned times that a change of the
   clocks moves onto one instant are one run.
3. *Within the limits.* `start <= nominal < end`, index <= count, and nominal <= effective < nominal + window.
4. *No silent move.* What a stored definition means is held by its dialect; `tests/golden/recurring.txt` has
   definitions and their runs, and an upgrade that moves one fails there.
"""
