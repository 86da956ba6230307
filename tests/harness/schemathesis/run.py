"""Run Schemathesis against a server of its own: `python -m tests.harness.schemathesis.run [options]`.

The options are those of `st run`. Schemathesis lives in a virtual environment of its own, which `make
schemathesis` makes: it is no dependency. The singular paths have the same handlers, and are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.harness.server import serving

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMAND = ROOT / ".ringtime" / "schemathesis" / "bin" / "st"
_SINGULAR = r"^/goscheduler/(app|schedule)(/|$)"


def main() -> None:
    """Exit as Schemathesis does: 0 if it found nothing."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        app = json.dumps({"appId": "test", "partitions": 4, "active": True}).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{server.base}/apps", app, headers)).close()
        done = subprocess.run(
            [
                *(str(COMMAND), "--config-file", str(HERE / "schemathesis.toml")),
                *("run", server.base.replace("/goscheduler", "/openapi.json"), "--checks", "all"),
                *("--exclude-path-regex", _SINGULAR, "--suppress-health-check", "all", "--no-color"),
                *("--continue-on-failure", *sys.argv[1:]),
            ],
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "PYTHONPATH": str(HERE)},
            check=False,
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
