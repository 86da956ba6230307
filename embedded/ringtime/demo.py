"""The first look: play goscheduler's README against a real `ringtime serve` and show what happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pyreqwest.client import SyncClient, SyncClientBuilder

from ringtime_shared.entry import take_interrupts

_MORE = 20  #: schedules after the README's own one
_WAIT_S = 30


class _Receiver(ThreadingHTTPServer):
    """Takes callbacks and notes when each came."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arrivals: dict[str, float] = {}
        self.news = threading.Condition()

    def wait_for(self, schedule_ids: list[str]) -> dict[str, float]:
        """Return the arrival times of these schedules, once all are there or time is up."""
        with self.news:
            self.news.wait_for(lambda: self.arrivals.keys() >= set(schedule_ids), timeout=_WAIT_S)
            return {each: self.arrivals[each] for each in schedule_ids if each in self.arrivals}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Receiver

    def _take(self) -> None:
        arrived_s = time.time()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        with self.server.news:
            self.server.arrivals.setdefault(self.headers["Schedule-Id"], arrived_s)
            self.server.news.notify_all()

    do_GET = do_POST = _take  # noqa: N815 - the names http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


@contextmanager
def _server(folder: str) -> Iterator[str]:
    """Run `ringtime serve` on a free port; yield its base URL."""
    command = [sys.executable, "-m", "ringtime_shared.entry", "ringtime.main", "serve"]
    command += ["--port", "0", "--data", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "listens on " not in line:
            raise SystemExit(f"demo failed: the server did not start: {line!r}")
        yield line.split("listens on ")[1].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_WAIT_S)


class _Api:
    """Sends requests and shows them."""

    def __init__(self, client: SyncClient, base: str) -> None:
        self._client = client
        self._base = base

    def call(self, method: str, path: str, body: object = None, *, shown: bool = True) -> Any:
        request = self._client.request(method, self._base + path)
        if body is not None:
            request = request.header("content-type", "application/json").body_text(json.dumps(body))
        response = request.build().send()
        answer = json.loads(response.text())
        if shown:
            print(f"\n> {method} {self._base}{path}")
            if body is not None:
                print(_indented(body, "> "))
            print(f"< HTTP {response.status}")
            print(_indented(answer, "< "))
        if response.status >= 300:
            raise SystemExit(f"demo failed: {method} {path} was answered {response.status}")
        return answer["data"]


def _indented(value: object, prefix: str) -> str:
    return "\n".join(prefix + line for line in json.dumps(value, indent=2).splitlines())


def _schedule(receiver: _Receiver, at: float) -> dict[str, object]:
    """Return the curl body of the README, pointed at our receiver."""
    return {
        "appId": "test",
        "payload": "{}",
        "scheduleTime": at,
        "callback": {
            "type": "http",
            "details": {
                "url": f"http://127.0.0.1:{receiver.server_port}/goscheduler/healthcheck",
                "method": "GET",
                "headers": {"Content-Type": "application/json", "Accept": "application/json"},
            },
        },
    }


def play(base: str, receiver: _Receiver) -> None:
    """Register, create, wait, look; exit with an error if anything is missing or early."""
    with SyncClientBuilder().no_proxy().build() as client:
        api = _Api(client, base)
        print("1. Register an app with 5 partitions")
        api.call("POST", "/app", {"appId": "test", "partitions": 5, "active": True})
        print("\n2. Create the README's schedule, due in 3 seconds")
        due_s = int(time.time()) + 3
        first = api.call("POST", "/schedule", _schedule(receiver, due_s))["scheduleId"]
        fire_times = {first: float(due_s)}
        print(f"\n3. And {_MORE} more, a few milliseconds apart")
        for number in range(_MORE):
            at = round(due_s + 0.5 + number * 0.037, 3)
            created = api.call("POST", "/schedule", _schedule(receiver, at), shown=False)
            fire_times[created["scheduleId"]] = at
        print("\n4. Wait for the callbacks")
        arrivals = receiver.wait_for(list(fire_times))
        lags_ms = [(arrived - fire_times[each]) * 1000 for each, arrived in arrivals.items()]
        if first in arrivals:
            print(
                f"callback of {first} arrived {(arrivals[first] - due_s) * 1000:.1f} ms after its fire time"
            )
        print("\n5. Look at the first one again")
        _wait_for_success(api, first)
        api.call("GET", f"/schedule/{first}")
    if len(arrivals) < len(fire_times) or min(lags_ms) < 0:
        raise SystemExit(
            f"demo failed: fired {len(arrivals)} of {len(fire_times)}, earliest {min(lags_ms):.1f} ms"
        )
    print(f"\ndemo ok: fired {len(arrivals)} of {len(fire_times)}, max lag {max(lags_ms):.0f} ms")


def _wait_for_success(api: _Api, schedule_id: str) -> None:
    """The outcome is recorded just after the callback was answered."""
    until_s = time.monotonic() + _WAIT_S
    while time.monotonic() < until_s:
        if api.call("GET", f"/schedule/{schedule_id}", shown=False)["schedule"]["status"] == "SUCCESS":
            return
        time.sleep(0.05)
    raise SystemExit(f"demo failed: {schedule_id} did not turn SUCCESS")


def main() -> None:
    """Run the demo in a folder of its own."""
    take_interrupts()
    receiver = _Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with (
        tempfile.TemporaryDirectory(prefix="ringtime-demo-") as folder,
        _server(str(Path(folder) / "data")) as base,
    ):
        play(base, receiver)
    receiver.shutdown()
    receiver.server_close()


if __name__ == "__main__":
    main()
