"""The scan for credentials finds each form it knows, and says where and not what."""

from __future__ import annotations

from base64 import b64encode
from random import Random

import pytest
from tests.harness.secret_scan import scan

from ringtime_shared.access import Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.encryption.ed25519 import make_private_key

RNG = Random(1)


def letters(count: int) -> str:
    return "".join(RNG.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=count))


#: Put together here, or the scan would find this file.
LEFT = {
    "API key of Ringtime": make_key(Scope, None, label="x", now_ms=1)[0],
    "private key": "-----BEGIN " + f"PRIVATE KEY-----\n{letters(64)}",
    "private signing key": make_private_key(),
    "signing secret": "whsec_" + b64encode(RNG.randbytes(32)).decode(),
    "AWS key": "AKIA" + letters(16),
    "GitHub token": "ghp_" + letters(36),
    "GitLab token": "glpat-" + letters(20),
    "Slack token": "xoxb-" + letters(24),
    "Stripe key": "sk_live_" + letters(24),
    "Google key": "AIza" + letters(35),
    "PyPI token": "pypi-AgE" + letters(60),
    "npm token": "npm_" + letters(36),
    "JSON web token": ".".join(["eyJ" + letters(20), "eyJ" + letters(20), letters(40)]),
    "password in a URL": f"postgres://app:{letters(16)}@db.example.org/x",
}


@pytest.mark.parametrize("kind", LEFT)
def test_each_form_is_found_and_not_repeated(kind: str) -> None:
    content = f"first = 1\nsecond = '{LEFT[kind]}'\n".encode()
    [found] = scan(content, "a/b.py")
    assert (found.kind, str(found)) == (kind, f"a/b.py:2: {kind}")


@pytest.mark.parametrize(
    "harmless",
    [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_" + "A" * 32,
        LEFT["API key of Ringtime"][:-1] + ("0" if LEFT["API key of Ringtime"][-1] != "0" else "1"),
        "-----BEGIN " + "PRIVATE KEY-----\\n...",
        "http://user:pass@example.org",
        letters(200),
    ],
    ids=[
        "the standard's vector",
        "one letter",
        "wrong checksum",
        "no key in it",
        "short password",
        "letters",
    ],
)
def test_what_is_none_is_passed_over(harmless: str) -> None:
    assert list(scan(harmless.encode(), "a.py")) == []
