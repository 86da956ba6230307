"""The HTTP server that every process of ours runs: what stands between a network and the application.

| module | does |
|---|---|
| `heads` | a request's head, from bytes to its parts; refuses what is ambiguous, and foreign pages |
| `chunks` | a body in chunks, put together |
| `crowd` | all connections: how many, whose turn it is to go, what was refused |
| `connection` | one connection: its stages and their deadlines, and each request as ASGI has it |
| `handshakes` | connections that are to be encrypted, until they are |
| `serving` | port, signals, start and stop; uvicorn runs the life cycle |

What a client can take is bounded, whatever it sends: bytes of a head, headers, bytes of a body and of what
comes with its chunks, the time for each, connections, bytes of requests that are not whole, answers it does
not read. An application behind it sees whole requests, each read in one way.
"""

from ringtime_shared.http_server.connection import TAKE, WHOLE
from ringtime_shared.http_server.heads import SECURITY_TXT, is_loopback
from ringtime_shared.http_server.serving import hold_port, listen, serve_http, stop_on_signals

__all__ = [
    "SECURITY_TXT",
    "TAKE",
    "WHOLE",
    "hold_port",
    "is_loopback",
    "listen",
    "serve_http",
    "stop_on_signals",
]
