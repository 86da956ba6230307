"""`ringtime serve --clock manual`, as docs/testing.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.harness.api_page import Example, Shell
from tests.harness.server import ServerProcess

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
JSON = "-H 'Content-Type: application/json' -d"
SELF = {"url": "http://127.0.0.1:8080/goscheduler/healthcheck", "method": "GET"}
APP = {"appId": "shop", "active": True, "configuration": {"firedScheduleRetentionPeriod": 366}}
DAILY = {
    "cronExpression": "30 9 * * *",
    "timeZone": "Europe/Berlin",
    "payload": "daily",
    "callback": {"type": "http", "details": SELF},
}
AT = "http://localhost:8080/goscheduler/apps"
RUNS = f"curl '{AT}/shop/recurring/daily/runs?when=past&size=100'"


def test_a_month_of_a_cron_on_a_server(tmp_path: Path) -> None:
    [start] = re.findall(r"--clock-start (\S+)", PAGE)
    [(command, said)] = re.findall(r"```bash\n(.*?)```\n\n```json\n(.*?)```", PAGE, re.DOTALL)
    server = ServerProcess(tmp_path / "none", stepped_from=start)
    try:
        server.start()
        shell = Shell(server.base)

        def ask(command: str) -> Any:
            return shell.ask(Example("", command, ""))

        ask(f"curl {AT} {JSON} '{json.dumps(APP)}'")
        ask(f"curl -X PUT {AT}/shop/recurring/daily {JSON} '{json.dumps(DAILY)}'")
        assert not shell.wrong(Example("", command, said))
        told = ask(command.replace("86400", str(29 * 86_400)))["data"]
        assert (told["now"], told["done"]) == ("2030-01-31T00:00:00.000Z", True)
        runs = ask(RUNS)["data"]
        fired = [(run["status"], run["firedAt"], run["nominalTime"]) for run in runs["schedules"]]
        at = [f"2030-01-{day:02}T08:30:00.000Z" for day in range(30, 0, -1)]
        assert fired == [("SUCCESS", each, each) for each in at]
        assert ask("curl http://localhost:8080/clock")["data"]["now"] == told["now"]
        for path in ("health/live", "health/ready"):
            assert ask(f"curl http://localhost:8080/{path}")["clock"] == "manual"
    finally:
        server.close()
