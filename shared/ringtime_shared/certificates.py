"""Certificates: contexts made of files, and again when these change; what was wrong with one, in words.

Every connection that is made here wants TLS 1.2 or newer. One that goes out checks the certificate of the
other side and that it is for the name, or the address, that was asked for.

Files are looked at when a context is asked for, at most once a second. Two files are not changed at once, so
for a moment a certificate may stand beside a key that is not its own; then, as with any that cannot be used,
what was read before stays in force, which is said once for each state of the files.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ringtime_shared.errors import StartupError

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_PROBE_S = 2.0
_AFTER_HANDSHAKE_S = 0.5  #: a TLS 1.3 server tells what it thinks of our certificate only now
# OpenSSL's X509_V_ERR codes.
_FAULTS = {
    9: "is not valid yet",
    10: "is expired",
    18: "is self-signed",
    19: "is signed by a root that is not trusted here",
    20: "is signed by nobody who is trusted here",
    21: "is signed by nobody who is trusted here",
    23: "is revoked",
    62: "is for another host",
    64: "is for another address",
}
# Reasons of OpenSSL for an alert that says what the other side thinks of our certificate.
_ALERTS = {
    "BAD_CERTIFICATE": "takes it for a bad one",
    "CERTIFICATE_EXPIRED": "takes it for expired",
    "CERTIFICATE_REQUIRED": "wants one, and has got none",
    "CERTIFICATE_REVOKED": "takes it for revoked",
    "CERTIFICATE_UNKNOWN": "does not want it",
    "INTERNAL_ERROR": "had an internal error, as Cassandra has where it does not trust one",
    "UNKNOWN_CA": "does not know who signed it",
    "UNSUPPORTED_CERTIFICATE": "cannot use it",
}


def client_context(
    ca_file: str, cert_file: str = "", key_file: str = "", *, purpose: str = "connections"
) -> ssl.SSLContext:
    """Return what a client checks the other side by.

    Args:
        ca_file: certificates that the other side's must be signed by, PEM; "": those that the machine trusts.
        cert_file: a certificate of our own, if the other side wants one; "": none.
        purpose: whom it is for, in what an error says.

    Raises StartupError that says which file it was.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # TLS 1.2 or newer; checks host names
    if ca_file:
        trust(context, ca_file, purpose=purpose)
    else:
        context.load_default_certs()
    if cert_file:
        identify(context, cert_file, key_file, purpose=purpose)
    return context


def server_context(cert_file: str, key_file: str, client_ca_file: str = "") -> ssl.SSLContext:
    """Return what a server shows its clients; with `client_ca_file` they must have a certificate that it
    signed. Raises StartupError that says which file it was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    identify(context, cert_file, key_file, purpose="the API")
    if client_ca_file:
        trust(context, client_ca_file, purpose="clients of the API")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def trust(context: ssl.SSLContext, ca_file: str, *, purpose: str) -> None:
    """Have a context trust what is signed by these as well. Raises StartupError."""
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # of which ssl.SSLError is one
        raise _unreadable(ca_file, purpose, error) from error


def identify(context: ssl.SSLContext, cert_file: str, key_file: str, *, purpose: str) -> None:
    """Have a context show this certificate. Raises StartupError."""
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except OSError as error:
        raise _unreadable(f"{cert_file} with {key_file}", purpose, error) from error


class Contexts:
    """A context that follows its files.

    Args:
        files: what it is made of.
        make: makes it; raises StartupError for files that cannot be used.

    Raises what `make` does: at first they must be good.
    """

    def __init__(self, files: Sequence[str], make: Callable[[], ssl.SSLContext]) -> None:
        self._files = [Path(file) for file in files if file]
        self._make = make
        self._state = self._look()
        self._context = make()
        self._next_s = time.monotonic() + _LOOK_S

    @property
    def current(self) -> ssl.SSLContext:
        """What new connections are made with."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _LOOK_S
            state = self._look()
            if state != self._state:
                self._state = state
                self._replace()
        return self._context

    def _replace(self) -> None:
        try:
            self._context = self._make()
        except StartupError as error:
            _log.error("what was read before stays in force: %s", error)
        else:
            _log.info("read again, for new connections: %s", ", ".join(map(str, self._files)))

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


def fault_text(error: OSError) -> str:
    """Say why there is no connection: a certificate that was refused, by whom and for what, is told apart."""
    fault = certificate_fault(error)
    if fault is not None:
        return f"could not connect: {fault}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "the connection ended").lower().replace("_", " ")
        return f"could not connect: TLS failed ({reason})"
    return "could not connect"


def certificate_fault(error: BaseException | None) -> str | None:
    """Return what was wrong with which certificate, if that is what the error is about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _FAULTS.get(error.verify_code) or f"was refused: {error.verify_message}"
        return f"the certificate {why}"
    if isinstance(error, ssl.SSLError):
        for alert, why in _ALERTS.items():
            if (error.reason or "").endswith(f"ALERT_{alert}"):
                return f"our certificate was refused: the other side {why}"
    return None


async def find_fault(servers: Iterable[tuple[str, int]], context: ssl.SSLContext | None) -> str:
    """Return which server refused which certificate, or had one that is refused, and why, by connections made
    to find out; "": none, or it could not be found out. For client libraries that do not say.

    Args:
        servers: host and port of each.
        context: None: there are no certificates.
    """
    if context is not None:
        for host, port in servers:
            fault = await _try(host, port, context)
            if fault is not None:
                return f"TLS to {host}:{port}: {fault}"
    return ""


async def _try(host: str, port: int, context: ssl.SSLContext) -> str | None:
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                async with asyncio.timeout(_AFTER_HANDSHAKE_S):
                    await reader.read(1)
            finally:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return certificate_fault(error)
    return None


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does, also where it is a link that leads elsewhere now."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _no_password() -> str:
    """Instead of OpenSSL, which would ask at the terminal for the password of a key that has one."""
    return ""


def _unreadable(files: str, purpose: str, error: OSError) -> StartupError:
    if isinstance(error, ssl.SSLError):
        why = "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "no usable PEM"
    else:
        why = error.strerror or str(error)
    return StartupError(f"cannot read the certificates for {purpose}, {files}: {why}")
