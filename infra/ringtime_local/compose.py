"""What `docker compose config` makes of a file: its library, built by Go, needs no Docker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from ringtime_local.cache import cached
from ringtime_local.errors import MissingPrerequisite
from ringtime_local.tools import run_tool

MODULE = "github.com/compose-spec/compose-go/v2"
VERSION = "v2.4.0"
BUILD_TIMEOUT_S = 600.0
_PROGRAM = "compose-config"

MAIN_GO = f"""\
package main

import (
	"context"
	"fmt"
	"os"

	"{MODULE}/cli"
	"{MODULE}/types"
)

func load(files []string) (*types.Project, error) {{
	options, err := cli.NewProjectOptions(files)
	if err != nil {{
		return nil, err
	}}
	return options.LoadProject(context.Background())
}}

func main() {{
	project, err := load(os.Args[1:])
	if err == nil {{
		var text []byte
		text, err = project.MarshalJSON()
		fmt.Println(string(text))
	}}
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
}}
"""


def compose_config(file: Path, *, abort: Event) -> Mapping[str, Any]:
    """Return the file as Compose has it: checked against its schema, with all that it leaves out.

    Raises StartFailed with what is wrong; MissingPrerequisite where there is no Go.
    """
    if shutil.which("go") is None:
        raise MissingPrerequisite("There is no `go` on PATH: install Go 1.21 or newer")
    folder = cached(f"compose-go-{VERSION}", partial(_build, abort=abort), abort)
    text = run_tool([str(folder / _PROGRAM), str(file)], abort=abort, timeout_s=60)
    config: Mapping[str, Any] = json.loads(text)
    return config


def _build(folder: Path, *, abort: Event) -> None:
    source = folder / "source"
    source.mkdir()
    (source / "main.go").write_text(MAIN_GO, encoding="utf-8")
    for argv in (
        ["go", "mod", "init", "ringtime.local/compose"],
        ["go", "get", f"{MODULE}/cli@{VERSION}"],
        ["go", "build", "-o", str(folder / _PROGRAM), "."],
    ):
        run_tool(argv, abort=abort, timeout_s=BUILD_TIMEOUT_S, folder=source, env={"CGO_ENABLED": "0"})
    shutil.rmtree(source)
