"""Which certificates https callbacks trust and show: the machine's roots, the operator's, an app's profile.

A profile is a folder that the operator gave a name (`callbacks.tls_profiles`), with certificates that
receivers of single apps may have theirs signed by, a client certificate, or both. An app names one in its
setting `tlsProfile`: never a file, and only a name that `callbacks.tls_grants` opens to it, so that no tenant
speaks with the certificate of another. What a profile trusts is trusted beside the rest.

| certificates | are trusted by |
|---|---|
| the machine's roots, or those that `SSL_CERT_FILE` names | every attempt |
| `callbacks.ca_file` | every attempt |
| `ca.crt` of a profile | attempts of apps that have it |

All is read at start, as a process that is short of descriptors cannot read it later, and again when it
changes.
"""

from __future__ import annotations

import logging
import ssl
from functools import partial
from pathlib import Path

from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.certificates import Contexts, identify, trust
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import CallbackSettings

# Where the distributions keep root certificates, for a Python whose own OpenSSL looks elsewhere.
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_log = logging.getLogger(__name__)


class Trust:
    """The contexts of all profiles, and of none. Raises StartupError for what cannot be read."""

    def __init__(self, settings: CallbackSettings) -> None:
        paths = ssl.get_default_verify_paths()
        self._profiles = TlsProfiles(settings)
        self._contexts = {"": Contexts([settings.ca_file], partial(_make, paths, settings.ca_file, None))}
        for name, place in self._profiles.folders.items():
            folder = Path(place)
            files = [settings.ca_file, *(str(folder / each) for each in ("ca.crt", "tls.crt", "tls.key"))]
            self._contexts[name] = Contexts(files, partial(_make, paths, settings.ca_file, folder))

    def context(self, profile: str = "") -> ssl.SSLContext:
        """Return what a connection is made with now. Raises KeyError for a profile that is not known."""
        return self._contexts[profile].current

    def fault(self, app_id: str, profile: str) -> str:
        """Return why an app cannot use a profile; "": it can."""
        if not self._profiles.is_open(app_id, profile):
            return f"the TLS profile {profile} is not open to this app"
        return "" if profile in self._contexts else f"this dispatcher knows no TLS profile {profile}"


def _make(paths: ssl.DefaultVerifyPaths, ca_file: str, folder: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    _load_roots(context, paths)
    if ca_file:
        trust(context, ca_file, purpose="callbacks")
    if folder is None:
        return context
    purpose = f"the TLS profile {folder}"
    authority, certificate, key = (folder / name for name in ("ca.crt", "tls.crt", "tls.key"))
    has_certificate = certificate.exists() or key.exists()
    if authority.exists():
        trust(context, str(authority), purpose=purpose)
    elif not has_certificate:
        raise StartupError(f"{purpose} has neither ca.crt, nor tls.crt and tls.key")
    if has_certificate:
        identify(context, str(certificate), str(key), purpose=purpose)
    return context


def _load_roots(context: ssl.SSLContext, paths: ssl.DefaultVerifyPaths) -> None:
    roots = paths.cafile or next((path for path in _ROOTS if Path(path).is_file()), None)
    if roots is None and paths.capath is None:
        _log.warning("no root certificates found: https callbacks will fail; SSL_CERT_FILE may name a file")
        return
    try:
        context.load_verify_locations(cafile=roots, capath=paths.capath)
    except OSError as error:
        raise StartupError(f"cannot read the root certificates {roots or paths.capath}: {error}") from error
