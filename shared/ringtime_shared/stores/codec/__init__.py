"""What SQLite and Cassandra both store as text, written and read; and whether a stored record can be used.

| module | has |
|---|---|
| `cells` | what a cell may hold, how a record is checked, models as JSON |
| `rows` | rows, outcomes, marks |
| `apps` | apps |
| `recurring` | recurring schedules, calendars |
| `documents` | what is a key and one text: claims, jobs, dead letters, audit entries, keys, taps, parts |

Models are JSON without the fields that have their default value: most have most of them, and a field that a
later version adds costs nothing until it is used. Keys that are not known are passed over, so what a later
version wrote can be read.

Files get damaged and people write into tables, so a cell may be missing, of another type, out of range, or
JSON of something else. What a driver has read is therefore checked before it is used: all records of a page
at once, in C (some 0.1 us a row, where making the row takes 4). Only if that refuses the page are its records
looked at one by one.
"""
