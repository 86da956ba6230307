"""The transport of ingest: requests in, answers out. Its interface is `create_app`.

| module | does |
|---|---|
| `app` | all routes, the gate before them, and the answers to what goes wrong |
| `gate` | who comes in, how many at once, how long a body; past the router with most; what becomes of a bug |
| `guard` | what each route needs of its caller: a scope, and the app to be one of his |
| `changing` | what is noted of a request that changes something, for the audit log; its id |
| `routes` | one method for each route: parse, ask the service, answer |
| `plain` | creates as nearly all clients write them, from bytes to what the service is asked |
| `parsing`, `fields`, `shapes` | from bytes to what the service is asked: form, tables, JSON |
| `envelope` | what every answer comes in; which error has which code |
| `openapi`, `schemas`, `docs_page` | the reference, made from the tables that the parser works by |

It decides nothing about apps and schedules and never looks into the store: what a request means is the
service's to say (see `ringtime_ingest.service`), and what it raises is worded here.
"""

from ringtime_ingest.http.app import create_app

__all__ = ["create_app"]
