"""Put the sources together, check everything, build `Settings`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from ringtime_shared.errors import SettingsError, Violation
from ringtime_shared.settings.catalog import SettingField, catalog, group_class
from ringtime_shared.settings.root import Settings
from ringtime_shared.settings.rules import broken_rules
from ringtime_shared.settings.sources import Given, from_environment, from_file, from_flags

_NO_FLAGS: Mapping[str, object] = MappingProxyType({})


def load_settings(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    flags: Mapping[str, object] = _NO_FLAGS,
    under: Iterable[Given] = (),
) -> Settings:
    """Return the settings of this process.

    Args:
        path: the file named by `--config`; None: there is none.
        environ: the environment, `os.environ` outside of tests.
        flags: values of the command line by key (`server.port`); None stands for a flag not given.
        under: values that all of these win over, as those of goscheduler's file.

    Raises:
        SettingsError: everything that is wrong, each with its key, variable or flag.
    """
    filed, unknown_keys = from_file(path) if path is not None else ([], [])
    exported, unknown_variables = from_environment(environ)
    values, bad = _read([*under, *filed, *exported, *from_flags(flags)])
    violations = [*unknown_keys, *unknown_variables, *bad]
    if violations:
        raise SettingsError(violations)
    settings = _build(values)
    broken = broken_rules(settings)
    if broken:
        raise SettingsError(broken)
    return settings


def check_settings(settings: Settings) -> Settings:
    """Return settings that code has put together, if ranges and rules hold. Raises SettingsError."""
    given = [
        Given(field, field.key, getattr(getattr(settings, field.group), field.name), is_text=False)
        for field in catalog().values()
    ]
    _, bad = _read(given)
    violations = bad or broken_rules(settings)
    if violations:
        raise SettingsError(violations)
    return settings


def _read(given: Iterable[Given]) -> tuple[dict[SettingField, object], list[Violation]]:
    """Return the last value given for each field; every bad one is reported, also one that is not last."""
    values: dict[SettingField, object] = {}
    bad: list[Violation] = []
    for field, source, value, is_text in given:
        try:
            values[field] = field.read_text(str(value)) if is_text else field.read(value)
        except ValueError as error:
            bad.append(Violation(source, str(error)))
    return values, bad


def _build(values: Mapping[SettingField, object]) -> Settings:
    groups: dict[str, dict[str, object]] = defaultdict(dict)
    for field, value in values.items():
        groups[field.group][field.name] = value
    return Settings(**{group: group_class(group)(**fields) for group, fields in groups.items()})
