"""Where values come from: the file, the environment, the command line. Nothing is checked here but names."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ringtime_shared.errors import SettingsError, Violation
from ringtime_shared.settings.catalog import PREFIX, SettingField, catalog, group_names

#: Variables with our prefix that are no settings: passed over, not refused.
#: - RINGTIME_TEST_*: addresses of servers for the test suite.
#: - RINGTIME_KEY and RINGTIME_KEY_FILE: the API key that clients and ringctl call with.
#: - RINGTIME_CA_FILE, RINGTIME_CLIENT_CERT_FILE, RINGTIME_CLIENT_KEY_FILE: for clients and ringctl.
#: - What Kubernetes sets for a Service whose name starts with `ringtime`, such as
#:   RINGTIME_INGEST_SERVICE_HOST and RINGTIME_PORT_8080_TCP_ADDR.
EXEMPT_VARIABLES = re.compile(
    r"RINGTIME_TEST_\w+"
    r"|RINGTIME_KEY(_FILE)?"
    r"|RINGTIME_(CA|CLIENT_CERT|CLIENT_KEY)_FILE"
    r"|RINGTIME_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)"
    r"|RINGTIME_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
#: And RINGTIME_*PORT when its value is such a link: `tcp://10.0.0.1:8080`.
SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+")


class Given(NamedTuple):
    """One value and who gave it."""

    field: SettingField
    source: str  #: what to name in a refusal: the key, the variable or the flag
    value: object
    is_text: bool  #: from the environment or the command line: still to be read as a number


def from_file(path: Path) -> tuple[list[Given], list[Violation]]:
    """Return the values of a TOML or JSON file, and its unknown keys. Raises SettingsError."""
    given: list[Given] = []
    unknown: list[Violation] = []
    for group, values in parse_file(path).items():
        if group not in group_names():
            unknown.append(_unknown(group, group_names()))
        elif not isinstance(values, dict):
            unknown.append(Violation(group, "must be a table of settings"))
        else:
            for name, value in values.items():
                key = f"{group}.{name}"
                if key in catalog():
                    given.append(Given(catalog()[key], key, value, is_text=False))
                else:
                    unknown.append(_unknown(key, catalog()))
    return given, unknown


def from_environment(environ: Mapping[str, str]) -> tuple[list[Given], list[Violation]]:
    """Return the values of all variables that are ours, and those that are ours but unknown."""
    by_variable = {field.variable: field for field in catalog().values()}
    given: list[Given] = []
    unknown: list[Violation] = []
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(PREFIX) or _is_exempt(variable, text):
            continue
        if variable in by_variable:
            given.append(Given(by_variable[variable], variable, text, is_text=True))
        else:
            unknown.append(_unknown(variable, by_variable))
    if "PORT" in environ:
        given.append(Given(catalog()["server.port"], "PORT", environ["PORT"], is_text=True))
    return given, unknown


def from_flags(flags: Mapping[str, object]) -> Iterator[Given]:
    """Return the values of flags by key, passing over those that were not given (None)."""
    for key, value in flags.items():
        if value is not None:
            name = "--" + key.rpartition(".")[2].replace("_", "-")
            yield Given(catalog()[key], name, value, is_text=isinstance(value, str))


def parse_file(path: Path) -> dict[str, object]:
    """Return what a TOML or JSON file holds. Raises SettingsError, which quotes nothing of it."""
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise _refused(path, "must be a .toml or a .json file")
    try:
        tree = readers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # The parser's own message may quote the file, and the file may hold a password.
        where = re.search(r"line \d+,? column \d+", str(error))
        place = f" at {where[0].replace(',', '')}" if where else ""
        raise _refused(path, f"is not valid {path.suffix[1:].upper()}{place}") from None
    if not isinstance(tree, dict):
        raise _refused(path, "must be one object of groups")
    return tree


def _refused(path: Path, rule: str) -> SettingsError:
    return SettingsError([Violation(str(path), rule)])


def _is_exempt(variable: str, text: str) -> bool:
    if variable.endswith("PORT") and SERVICE_LINK.fullmatch(text):
        return True
    return EXEMPT_VARIABLES.fullmatch(variable) is not None


def _unknown(name: str, known: Iterable[str]) -> Violation:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return Violation(name, "is no setting" + (f"; did you mean {near[0]}?" if near else ""))
