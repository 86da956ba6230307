"""Log lines of the services: one JSON object an event on stderr, or one readable line on a terminal.

Whoever has something to say does so as ever, by `logging.getLogger(__name__)`; a field that one may look
for goes into `extra`, by a name of `form.FIELDS`. What our libraries say comes in the same form. `process`
sets it up, once in a process, by the settings; the library does not, for its program has a log of its own.

| module | does |
|---|---|
| `form` | what is in a line, and how it is spelled |
| `bounds` | which lines are left out, because they say again what one has said |
| `requests` | which request a line belongs to |
| `process` | puts these together in a process, and changes its level while it runs |

Invariants. A line is one line, whatever is in it, and of bounded length. A server that is away is no
traceback: who waits for it says so in one line, and again no more than once in `logs.quiet_s`. No line has a
secret in it that the API would not show: errors are masked where they arise
(`ringtime_shared.callbacks.credentials`).
"""
