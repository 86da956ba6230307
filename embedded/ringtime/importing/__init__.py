"""`ringtime import goscheduler`: what goscheduler has to send yet, filed here once.

It reads goscheduler's tables, page by page, and hands what is to be carried to a running Ringtime, which
checks and files it as it does any create (`POST /goscheduler/imports`). Nothing is written at goscheduler.

| module | holds |
|---|---|
| `rows` | what goscheduler's tables hold. Pure |
| `source` | these tables, read in pages |
| `crontab` | goscheduler's cron expressions, as what they mean there |
| `carrying` | from a row to a request; what is not carried, and why. Pure |
| `target` | the API of the Ringtime that takes it |
| `account` | what is counted, by app |
| `passes` | one pass over all tables: a plan, the import, the comparison |
| `command` | the command line |

Invariant. An import may be killed at any moment and run again, and what is carried is there once: that is the
service's to hold (`ringtime_ingest.service.imports`), which knows each by the id that goscheduler gave it. So
nothing of where an import stands is kept here, and nothing of it can be lost.

Who sends, while both run. Each schedule from `--from` on is Ringtime's, each before it goscheduler's, and
that goscheduler sends none of the former is the operator's to see to: its apps are to be deactivated before
that instant. What goscheduler was to send before it and has no outcome of is carried by a later import with
an earlier `--from`, and sent at once.
"""
