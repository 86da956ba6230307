"""A server that answers as goscheduler does, for what Ringtime asks of it, and calls back when it is told to.

Facts are those of goscheduler's API (ea0a600): HTTP 200 with the code in the body, time-based ids, errors in
its envelope, a hard delete; and of its HTTP callbacks: the payload as the body, `Content-Type`, then the
client's headers, then `Schedule-Id`; three attempts at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid1

ATTEMPTS = 3


@dataclass(slots=True, kw_only=True)
class Heard:
    """One request that a server here took."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def listening(answer: Callable[[Heard], tuple[int, bytes]]) -> AsyncIterator[str]:
    """Serve on loopback what `answer` says of each request; yield the base URL. A status of 0 is none: the
    connection is cut."""

    open_ones = dict[asyncio.StreamWriter, asyncio.Task[object] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones[writer] = asyncio.current_task()
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                named = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(named.get("content-length", "0")))
                status, said = answer(Heard(method=method, path=path, headers=named, body=body))
                if not status:
                    break
                more = "Location: /moved\r\n" if 300 <= status < 400 else ""
                top = f"HTTP/1.1 {status} -\r\n{more}Content-Length: {len(said)}\r\n\r\n"
                writer.write(top.encode() + said)
                await writer.drain()
        open_ones.pop(writer, None)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        left = dict(open_ones)
        for writer in left:
            writer.close()
        await asyncio.gather(*(task for task in left.values() if task is not None))
        await server.wait_closed()


@dataclass(slots=True)
class Goscheduler:
    """What it has, and how it is just now."""

    schedules: dict[str, dict[str, object]] = field(default_factory=dict)
    trouble: int | None = None  #: what it answers instead; 0: it cuts the connection; None: it is well
    has_it_all_the_same: bool = False  #: and does what it was asked for nonetheless

    def answer(self, heard: Heard) -> tuple[int, bytes]:
        """Answer a request."""
        if self.trouble is not None and not self.has_it_all_the_same:
            return self.trouble, _failure(5004, "cannot persist")
        if heard.method == "POST" and heard.path == "/goscheduler/schedules":
            said = self._create(json.loads(heard.body))
        elif heard.method == "DELETE":
            said = self._delete(heard.path.rsplit("/", 1)[1])
        else:
            said = 404, b"404 page not found\n"
        return said if self.trouble is None else (self.trouble, _failure(5004, "cannot persist"))

    def _create(self, asked: dict[str, object]) -> tuple[int, bytes]:
        if not asked.get("payload"):
            return 400, _failure(400, "payload cannot be empty")
        if asked["appId"] == "unknown":
            return 400, _failure(4001, "app is not registered")
        made = asked | {"scheduleId": str(uuid1()), "airbusCallback": {}, "httpCallback": {}}
        self.schedules[str(made["scheduleId"])] = made
        return 200, _success(201, made)

    def _delete(self, schedule_id: str) -> tuple[int, bytes]:
        if schedule_id not in self.schedules:
            return 404, _failure(404, "no such schedule")
        return 200, _success(200, self.schedules.pop(schedule_id))

    async def fire(self, schedule_id: str) -> list[int]:
        """Call back for a schedule until it is answered 2xx, three times at most; return the statuses."""
        asked = self.schedules[schedule_id]
        details = asked["callback"]["details"]  # type: ignore[index]
        statuses: list[int] = []
        while len(statuses) < ATTEMPTS and not (statuses and 200 <= statuses[-1] < 300):
            given = {"Content-Type": "application/json", **details["headers"], "Schedule-Id": schedule_id}
            statuses.append(
                await send(details["method"], details["url"], given, str(asked["payload"]).encode())
            )
        return statuses


async def send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Send one request; return the status of its answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


def _success(code: int, schedule: dict[str, object]) -> bytes:
    status = {"statusCode": code, "statusMessage": "Success", "statusType": "Success", "totalCount": 1}
    return json.dumps({"status": status, "data": {"schedule": schedule}}).encode() + b"\n"


def _failure(code: int, message: str) -> bytes:
    return json.dumps(
        {"status": {"statusCode": code, "statusMessage": message, "statusType": "Fail"}}
    ).encode()
