"""Which certificates a client trusts and shows, for servers that a public authority knows nothing of.

| from an argument | else from the environment | |
|---|---|---|
| `ca_file` | `RINGTIME_CA_FILE` | trusted beside the roots that come with the client |
| `client_cert_file` | `RINGTIME_CLIENT_CERT_FILE` | shown to a server that asks for one |
| `client_key_file` | `RINGTIME_CLIENT_KEY_FILE` | its key |

They are read when a client is made; a new certificate is for a new client.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringtime_shared.errors import InvalidRequest

CA_FILE, CERT_FILE, KEY_FILE = "RINGTIME_CA_FILE", "RINGTIME_CLIENT_CERT_FILE", "RINGTIME_CLIENT_KEY_FILE"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MOST_BYTES = 4 << 20

File = str | Path | None


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM, as a transport takes it."""

    authorities: tuple[bytes, ...] = ()
    identity: bytes = field(default=b"", repr=False)  #: key and certificates; b"": none


def find_certificates(
    ca_file: File = None,
    client_cert_file: File = None,
    client_key_file: File = None,
    environ: Mapping[str, str] = os.environ,
) -> Certificates:
    """Return what is in these files, or in those that the environment names. Raises InvalidRequest."""
    ca, ca_from = _named("ca_file", ca_file, CA_FILE, environ)
    cert, cert_from = _named("client_cert_file", client_cert_file, CERT_FILE, environ)
    key, key_from = _named("client_key_file", client_key_file, KEY_FILE, environ)
    if bool(cert) != bool(key):
        raise InvalidRequest.of(cert_from if cert else key_from, "certificate and key go together")
    authorities = tuple(_CERTIFICATE.findall(_read(ca, ca_from))) if ca else ()
    if ca and not authorities:
        raise InvalidRequest.of(ca_from, f"{ca} holds no certificate in PEM")
    return Certificates(authorities, _read(key, key_from) + b"\n" + _read(cert, cert_from) if cert else b"")


def _named(argument: str, given: File, variable: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of a file, "" for none, and what named it."""
    return (environ.get(variable, ""), variable) if given is None else (str(given), argument)


def _read(file: str, source: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidRequest.of(source, f"{file} cannot be read: {error.strerror}") from None
