"""The dashboard: pages for people, made from what the API answers to them.

It asks the same HTTP API as every other client, with the key of whoever is signed in, so nobody can do here
what he could not do with `curl`. It knows no store, no dispatcher and no ring.

| module | does |
|---|---|
| `main` | `ringtime-web`, a process of its own |
| `app` | one ASGI application of all that is below; `ringtime serve` has it, too |
| `pages` | a module for each page: ask the API, hand what it says to a template |
| `site` | what every page stands on: who is signed in, forms, errors, headers |
| `api` | sends calls of `ringtime_client`, over the network or to an application in this process |
| `sessions` | who is signed in, in this process alone |
| `rendering` | templates, and how times and numbers are written |
| `static_files` | scripts and styles, all from this package |

A page works without scripts; they add what moves: live figures, suggestions, charts, copying. The policy of
every answer lets a browser run, load and ask nothing but what this server has, and nothing inline.
"""
