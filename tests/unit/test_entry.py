"""The way into every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_COMMAND = """
import gc
while_importing = gc.isenabled()
def main():
    print(while_importing, gc.isenabled(), gc.get_freeze_count() > 1_000)
"""


def test_the_collector_waits_for_the_imports_and_looks_at_none_of_them_later(tmp_path: Path) -> None:
    (tmp_path / "a_command.py").write_text(_COMMAND)
    argv = [sys.executable, "-m", "ringtime_shared.entry", "a_command"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False True True\n"
