"""What holds for callbacks of every type or app: types of your own, certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """Set the same values in every process."""

    types: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")], ...] = ()
    """Classes to load at start, `module:Class`, each made without arguments: see `docs/callback-types.md`.
    One that has the name of a type that comes with Ringtime takes its place."""

    ca_file: str = ""
    """Certificates that receivers' own may be signed by beside the roots that this machine trusts, a PEM
    file: your own authority's. For all apps. Read again when it changes."""

    tls_profiles: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}=.+$")], ...] = ()
    """Certificates for callbacks of single apps, `NAME=FOLDER` each. In the folder are `ca.crt`, certificates
    that the app's receivers may have theirs signed by as well, or `tls.crt` and `tls.key`, a client
    certificate and its key, or all three: what a Kubernetes secret of type `tls` is mounted as. An app names
    its profile in its setting `tlsProfile`. Read again when a file changes."""

    tls_grants: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_*-]+=([A-Za-z0-9._*-]|\{app\})+$")], ...] = (
        "*={app}",
        "*={app}.*",
    )
    """Which app may use which profile, `APP=NAME` each; `*` stands for any characters and `{app}` for the
    app's id. By default the profile of the app's own name, and those that begin with it and a dot: a client
    certificate speaks for whom it was made."""
