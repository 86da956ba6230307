"""docs/migrate-from-goscheduler.md is true: its commands, run one after the other, carry everything over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from ringtime_client import RingtimeClient
from ringtime_local import CassandraServer
from tests.harness.goscheduler import Filed, OldScheduler
from tests.harness.server import serving
from tests.service.cql import cql_session

PAGE = Path(__file__).parents[2] / "docs" / "migrate-from-goscheduler.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]


def test_the_commands_of_the_page_carry_everything_over(
    tmp_path: Path, cassandra_server: CassandraServer
) -> None:
    given, plan, carry, rest = BLOCKS
    assert set(re.findall(r"export (\w+)=", given)) == {"OLD", "RINGTIME", "ZONE"}
    now_s, app_id = int(time.time()), f"walk-{uuid4().hex[:6]}"
    later, soon = Filed(app_id=app_id, at_s=now_s + 86_400), Filed(app_id=app_id, at_s=now_s + 400)
    next_one, cron = Filed(app_id=app_id, at_s=now_s + 401), Filed(app_id=app_id, expression="30 9 * * *")
    run = Filed(app_id=app_id, at_s=now_s + 402, parent=cron.schedule_id)
    with cql_session(cassandra_server) as session, serving(tmp_path) as server:
        tables = OldScheduler(session, f"walk_{uuid4().hex[:8]}")
        try:
            tables.add_app(app_id)
            tables.add([later, soon, next_one, run])
            tables.add_crons([cron])
            where = f"--contact-point {cassandra_server.contact_points[0]} --port {cassandra_server.port}"
            spaces = (
                f"--schedules-keyspace {tables.schedules} --cluster-keyspace {tables.cluster}"  # ours alone
            )
            environ = {
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "OLD": f"{where} {spaces}",
                "RINGTIME": server.base,
                "ZONE": "Asia/Kolkata",
            }
            with RingtimeClient(server.base) as client:
                told = _run(environ, plan)
                assert "would be registered" in told
                assert not client.list_apps()
                told = _run(environ, f"{carry}echo FROM=$FROM")
                start = told.rpartition("FROM=")[2].strip()
                assert "compared: all 2 that can be carried are here" in told
                assert client.get_schedule(later.schedule_id).app_id == app_id
                definition = client.find_recurring(cron.schedule_id)
                assert definition.start_time is not None
                assert definition.start_time > datetime.now(UTC)
                told = _run(environ | {"FROM": start}, rest)
                assert "compared: all 5 that can be carried are here" in told
                for left in (soon, run):
                    assert client.get_schedule(left.schedule_id).fire_time == datetime.fromtimestamp(
                        left.at_s, UTC
                    )
        finally:
            tables.drop()


def _run(environ: dict[str, str], commands: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", commands], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
