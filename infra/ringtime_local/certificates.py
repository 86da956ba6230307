"""An authority and certificates that it signs, made by `openssl`, for servers with TLS here and for tests."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ringtime_local.errors import LaunchError

_TIMEOUT_S = 20.0
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate with its key, good for servers and for clients, and the authority that signed it: PEM."""

    ca: Path
    cert: Path
    key: Path

    @property
    def both(self) -> Path:
        """Key and certificate in one file, as Java's servers read them."""
        both = self.cert.with_suffix(".both.pem")
        both.write_text(self.key.read_text() + self.cert.read_text(), encoding="utf-8")
        return both

    def client_context(self) -> ssl.SSLContext:
        """Return what shows this certificate to servers of the same authority."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    """Signs certificates; all its files are in one folder. One that is there is used again.

    Raises LaunchError.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        if self.ca.exists() and self._key.exists():
            return
        self._openssl(
            *("req", "-x509", "-days", "3650", "-subj", f"/CN={name}", *_KEY),
            *(
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            ),
            *("-keyout", self._key, "-out", self.ca),
        )

    def issue(self, name: str, *hosts: str, days: int = 30) -> TlsFiles:
        """Return a new certificate.

        Args:
            name: whose it is; also of its files.
            hosts: names and addresses it is for; none: 127.0.0.1 and localhost.
            days: it is good for so long; -1: it is expired.
        """
        cert, key, request, extensions = (
            self._folder / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext")
        )
        named = ",".join(map(_alternative, hosts or ("127.0.0.1", "localhost")))
        uses = "extendedKeyUsage=serverAuth,clientAuth"
        extensions.write_text(
            f"basicConstraints=CA:FALSE\nsubjectAltName={named}\n{uses}\n", encoding="utf-8"
        )
        self._openssl("req", "-new", "-subj", f"/CN={name}", *_KEY, "-keyout", key, "-out", request)
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", str(days), "-extfile", extensions, "-out", cert),
        )
        return TlsFiles(self.ca, cert, key)

    def _openssl(self, *arguments: str | Path) -> None:
        try:
            subprocess.run(
                ["openssl", *map(str, arguments)],
                cwd=self._folder,
                check=True,
                capture_output=True,
                timeout=_TIMEOUT_S,
            )
        except FileNotFoundError:
            raise LaunchError("certificates are made by openssl, which is not on the PATH") from None
        except subprocess.CalledProcessError as error:
            said: bytes = error.stderr
            raise LaunchError(f"openssl {arguments[0]}: {said.decode(errors='replace').strip()}") from error


def _alternative(host: str) -> str:
    try:
        return f"IP:{ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"
