"""One version for all that is released: `make version VERSION=0.2.0` writes it wherever it stands.

`pyproject.toml` has it. Programs ask the install they are of (`importlib.metadata`); the other files below
cannot ask, so it is copied to them, and `tests/unit/test_release.py` holds them equal. With one that is no
development version, what `CHANGELOG.md` has under Unreleased becomes the section of the release. The steps of
a release are in `docs/releases.md`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHANGELOG = "CHANGELOG.md"
VERSION = r"[0-9]+\.[0-9]+\.[0-9]+(?:rc[0-9]+|\.dev[0-9]+)?"

#: Where the version stands: files, and of each the patterns it stands in, with the version alone as group 2.
PLACES: Mapping[str, tuple[str, ...]] = {
    "pyproject.toml": (rf'(?m)(^version = ")({VERSION})(")',),
    "client/pyproject.toml": (rf'(?m)(^version = ")({VERSION})(")',),
    "infra/pyproject.toml": (
        rf'(?m)(^version = ")({VERSION})(")',
        rf'("ringtime\[cluster,kafka\]==)({VERSION})(")',
    ),
    "infra/Dockerfile": (rf'(org\.opencontainers\.image\.version=")({VERSION})(")',),
    "infra/chart/ringtime/Chart.yaml": (rf'(?m)(^appVersion: ")({VERSION})(")',),
}


def version_of(root: Path = ROOT) -> str:
    """Return the version that all other places copy."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def versions(root: Path = ROOT) -> Mapping[str, list[str]]:
    """Return what each place says."""
    return {
        name: [match[2] for pattern in patterns for match in re.finditer(pattern, (root / name).read_text())]
        for name, patterns in PLACES.items()
    }


def with_version(text: str, patterns: tuple[str, ...], version: str) -> str:
    """Return a file's text with this version in each of its places. Raises ValueError if one is missing."""
    for pattern in patterns:
        text, count = re.subn(pattern, rf"\g<1>{version}\g<3>", text)
        if count != 1:
            raise ValueError(f"found {count} places of {pattern}")
    return text


def cut(changelog: str, version: str, day: str) -> str:
    """Return the change log with what is unreleased as the section of a release, and an empty one above it.

    Raises ValueError when nothing is unreleased, or the release is there.
    """
    head, mark, rest = changelog.partition("## [Unreleased]\n")
    unreleased = re.split(r"(?m)^## \[", rest)[0]
    if not mark or re.search(r"(?m)^- ", unreleased) is None:
        raise ValueError("nothing is unreleased")
    if f"## [{version}]" in rest:
        raise ValueError(f"{version} is released")
    return f"{head}{mark}\n## [{version}] - {day}\n{rest}"


def main() -> None:
    """Write the version of the command line everywhere."""
    version = sys.argv[1] if len(sys.argv) > 1 else ""
    if re.fullmatch(VERSION, version) is None:
        sys.exit("usage: make version VERSION=0.2.0, or 0.2.0rc1, or 0.3.0.dev0")
    changed = {ROOT / name: with_version((ROOT / name).read_text(), PLACES[name], version) for name in PLACES}
    if ".dev" not in version:
        log = ROOT / CHANGELOG
        changed[log] = cut(log.read_text(), version, f"{datetime.now(UTC):%Y-%m-%d}")
    for path, text in changed.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
