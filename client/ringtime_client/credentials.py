"""The API key that a client and `ringctl` call with: from an argument, a file or the environment.

It goes into the `Authorization` header of the transport and stays nowhere else: no client, error or log holds
it.

| from, the first that is there | |
|---|---|
| an `Authorization` header of the caller's own | say for a gateway; then there is no key |
| `key`, or `key_file` | of the caller |
| `RINGTIME_KEY` | the key itself |
| `RINGTIME_KEY_FILE` | the name of a file that holds it and nothing else, readable by its owner alone |
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ringtime_shared.errors import InvalidRequest

KEY, KEY_FILE = "RINGTIME_KEY", "RINGTIME_KEY_FILE"
_FORM = re.compile(r"[!-~]{1,512}")  #: what a header can carry; whether it is a key, the server says
_MOST_BYTES = 4_096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LOOPBACK = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)", re.IGNORECASE)
_log = logging.getLogger(__name__)


def find_key(
    key: str | None, key_file: str | Path | None, environ: Mapping[str, str] = os.environ
) -> str | None:
    """Return the key to call with; None: there is none. Raises InvalidRequest, which never repeats the
    key."""
    if key is not None and key_file is not None:
        raise InvalidRequest.of("key_file", "must not be given beside key")
    if key is not None:
        return _checked("key", key)
    if key_file is not None:
        return read_key_file("key_file", Path(key_file))
    if environ.get(KEY):
        return _checked(KEY, environ[KEY])
    if environ.get(KEY_FILE):
        return read_key_file(KEY_FILE, Path(environ[KEY_FILE]))
    return None


def read_key_file(source: str, path: Path) -> str:
    """Return the key in a file; one that others may read is warned of in the log.

    Args:
        source: what named the file, for a refusal.

    Raises InvalidRequest.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidRequest.of(source, f"{path} cannot be read: {error.strerror}") from None
    if mode & _OTHERS:
        _log.warning("others than its owner may use the key file %s: chmod 600 it", path)
    return _checked(f"{source} {path}", text.decode("ascii", errors="replace").strip())


def with_key(url: str, headers: Mapping[str, str] | None, key: str | None) -> Mapping[str, str]:
    """Return the headers of a client: those given, and the key, unless they say who is calling.

    A key that goes over a network without TLS is warned of in the log.
    """
    given = dict(headers or {})
    if key is None or any(name.lower() == "authorization" for name in given):
        return given
    if url.lower().startswith("http:") and not _LOOPBACK.match(url):
        _log.warning("the API key travels to %s without TLS: whoever listens on the way can use it", url)
    return {**given, "authorization": f"Bearer {key}"}


def _checked(source: str, key: str) -> str:
    if _FORM.fullmatch(key) is None:
        raise InvalidRequest.of(source, "must be an API key: printable ASCII without spaces, in one line")
    return key
