"""Credentials that were left in a file: `python -m tests.harness.secret_scan` names file, line and kind.

It goes by forms that are nearly never anything else: tokens of well-known services, and our own. What merely
looks random is passed over: detect-secrets, which goes by that, too, takes half a minute for this folder, and
its last release is of 2024.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ringtime_shared.access.keys import read_key

ROOT = Path(__file__).parents[2]
_MOST_BYTES = 4_000_000  #: of one file
#: Each begins with letters of its own, for which files are looked through quickly; what has to stand before
#: these is looked for behind them.
_FORMS = {
    "API key of Ringtime": rb"rt_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}",
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{32}",
    "private signing key": rb"whsk_[A-Za-z0-9+/]{43}",
    "signing secret": rb"whsec_[A-Za-z0-9+/]{32}",
    "AWS key": rb"A[KS]IA(?<![A-Z0-9]A[KS]IA)[A-Z0-9]{16}(?![A-Z0-9])",
    "GitHub token": rb"g(?:h[opsur]_[A-Za-z0-9]{36}|ithub_pat_[A-Za-z0-9_]{60})",
    "GitLab token": rb"glpat-[A-Za-z0-9_-]{20}",
    "Slack token": rb"xox[abposr]-[A-Za-z0-9-]{20}",
    "Stripe key": rb"k_live_(?<=[rs]k_live_)[A-Za-z0-9]{20}",
    "Google key": rb"AIza[A-Za-z0-9_-]{35}",
    "PyPI token": rb"pypi-AgE[A-Za-z0-9_-]{50}",
    "npm token": rb"npm_[A-Za-z0-9]{36}",
    "JSON web token": rb"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "password in a URL": rb"://(?<=[a-z]{2}://)[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]{12,}@[A-Za-z0-9]",
}
_COMPILED = {kind: re.compile(form) for kind, form in _FORMS.items()}
#: Examples, by what they are: a page shows an answer, the standard has a vector, tests make up their own.
_EXAMPLES = re.compile(rb"whsec_(?:MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|C2FVsBQIhrscChlQIMV|(.)\1{31})")
#: A page that is written anew from the answers of a server, which is gone by then.
_RECORDED = ("docs/api.md", "signing secret")


class Finding(NamedTuple):
    """Where there is something that looks like a credential."""

    path: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}"


def scan(content: bytes, path: str) -> Iterator[Finding]:
    """Yield what looks like a credential in one file."""
    for kind, form in _COMPILED.items():
        for found in form.finditer(content):
            if kind == "API key of Ringtime" and read_key(found[0]) is None:
                continue  # its checksum is wrong: made up
            if kind == "signing secret" and _EXAMPLES.match(found[0]):
                continue
            if (path, kind) == _RECORDED:
                continue
            yield Finding(path, content.count(b"\n", 0, found.start()) + 1, kind)


def files() -> list[Path]:
    """Return what is, or will be, in a commit: what git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and path.stat().st_size <= _MOST_BYTES]


def main() -> int:
    try:
        looked_at = files()
    except (OSError, subprocess.CalledProcessError):
        print("secret scan: no checkout of git, so nothing was looked at", file=sys.stderr)
        return 0
    findings = [each for path in looked_at for each in scan(path.read_bytes(), str(path.relative_to(ROOT)))]
    print(*findings, sep="\n", end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
