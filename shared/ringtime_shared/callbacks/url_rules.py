"""Callback URLs: what one must look like, so that nothing about its form can fail when it is due, and where
it leads.

Stricter than RFC 3986 where URL parsers disagree with each other: user names, fragments, backslashes,
empty labels and the many other spellings of an IPv4 address are refused, because two parsers that read
one URL differently are how a check is talked past. Whether the address may be called is another
question, asked at connect time.

What is accepted is sent as it was given, byte for byte, so nothing is mended here: a host with other letters
than ASCII must be given in its `xn--` form, and that form must be one that a browser would make (UTS #46).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from ringtime_shared.callbacks.address_rules import Address, parse_address

MAX_URL_CHARS = 2_048
MAX_HOST_CHARS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

_BAD_CHARACTER = re.compile(r"[^\x21-\x7e]|\\")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"[^/?]*")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_ORIGIN = re.compile(r"([A-Za-z]+://[^/?#]*)")


def _ipv6_pattern() -> str:
    group = "[0-9A-Fa-f]{1,4}"
    whole = f"(?:{group}:){{7}}{group}"
    cut = []
    for left in range(8):
        before = f"(?:{group}:){{{left - 1}}}{group}" if left > 1 else group if left else ""
        after = f"(?:{group}(?::{group}){{0,{6 - left}}})?" if left < 7 else ""
        cut.append(f"{before}::{after}")
    return "|".join([whole, *cut])


def _url_pattern() -> str:
    label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    last = f"(?![0-9]+(?![A-Za-z0-9_-])|0[xX][0-9A-Fa-f]*(?![A-Za-z0-9_-])){label}"
    byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    name = rf"(?=[^/?:]{{1,{MAX_HOST_CHARS}}}(?:[/?:]|$))(?:{label}\.)*{last}"
    host = rf"(?:{name}|(?:{byte}\.){{3}}{byte}|\[(?:{_ipv6_pattern()})\])"
    most = "6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
    port = f"(?::(?=[0-9]{{1,5}}(?![0-9]))0*(?:[1-9][0-9]{{0,3}}|[1-5][0-9]{{4}}|{most}))?"
    rest = r"(?:[/?](?:%[0-9A-Fa-f]{2}|[!\x22$&-\x5b\x5d-\x7e])*)?"
    return f"[hH][tT][tT][pP][sS]?://{host}{port}{rest}"


#: What `url_fault` passes, as one pattern for documents, but for labels that are punycode and for lengths.
URL_PATTERN = _url_pattern()


def url_fault(url: str) -> str | None:
    """Return the rule that `url` breaks, or None if it is fine as a callback URL."""
    if len(url) > MAX_URL_CHARS:
        return f"must be at most {MAX_URL_CHARS} characters"
    return _fault_within(url)


@lru_cache(maxsize=1_024)  # an app's schedules often call one URL
def _fault_within(url: str) -> str | None:
    if _BAD_CHARACTER.search(url):
        return "must be printable ASCII without spaces or backslashes; percent-encode other characters"
    scheme = _SCHEME.match(url)
    if scheme is None or scheme[1].lower() not in ("http", "https"):
        return "must be an absolute URL that begins with http:// or https://"
    if "#" in url:
        return "must have no fragment (#)"
    if _BAD_ESCAPE.search(url):
        return "% must be followed by two hexadecimal digits"
    slashes, authority = url[scheme.end() :][:2], _AUTHORITY.match(url, scheme.end() + 2)
    if slashes != "//" or authority is None:
        return "must begin with http:// or https:// and a host"
    return _authority_fault(authority[0])


@lru_cache(maxsize=4_096)  # the paths of an app's callbacks differ, their hosts seldom do
def _authority_fault(authority: str) -> str | None:
    if not authority:
        return "must name a host"
    if "@" in authority:
        return "must hold no user name or password (@)"
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            return "the IPv6 address must be in [brackets], followed by nothing but a port"
        return _ipv6_fault(host) or (_port_fault(tail[1:]) if tail else None)
    host, colon, port = authority.partition(":")
    return host_fault(host) or (_port_fault(port) if colon else None)


def _port_fault(port: str) -> str | None:
    if _PORT.fullmatch(port) and 1 <= int(port) <= 65_535:
        return None
    return "the port must be a number from 1 to 65535"


def _ipv6_fault(host: str) -> str | None:
    try:
        address = IPv6Address(host)
    except AddressValueError:
        return "the IPv6 address is not valid"
    return "the IPv6 address must have no zone" if address.scope_id else None


def host_fault(host: str) -> str | None:
    """Return the rule that a host name or an IPv4 address breaks, or None."""
    if not host:
        return "must name a host"
    if len(host) > MAX_HOST_CHARS:
        return f"the host must be at most {MAX_HOST_CHARS} characters"
    labels = host.split(".")
    if "" in labels:
        return "the host must have no empty label (two dots in a row, or a dot at an end)"
    for label in labels:
        if not _LABEL.fullmatch(label):
            return "each label of the host must be 1 to 63 of a-z, 0-9, - and _, with no - at an end"
        if label[:4].lower() == "xn--" and not _is_a_label(label):
            return f"the host label {label} is not valid in an internationalised name (IDNA)"
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        try:
            IPv4Address(host)
        except AddressValueError:
            return "an IPv4 address must be four decimal numbers from 0 to 255 without leading zeros"
    return None


def _is_a_label(label: str) -> bool:
    """Whether a label that begins with xn-- is what a browser makes of the letters it stands for."""
    encoded = label[4:].lower()
    try:
        letters = encoded.encode("ascii").decode("punycode")
        idna.check_initial_combiner(letters)
        idna.check_bidi(letters)
        is_itself = idna.uts46_remap(letters, std3_rules=True) == letters and not letters.isascii()
        return is_itself and letters.encode("punycode").decode("ascii") == encoded
    except (ValueError, OverflowError, IndexError):  # UnicodeError and IDNAError are ValueErrors
        return False


@dataclass(frozen=True, slots=True)
class Target:
    """What a connection is made to."""

    scheme: str  #: http or https
    host: str  #: a name in lower case, or an address without brackets
    port: int
    address: Address | None  #: the host, if it is an address; a mapped one is the IPv4 address
    origin: str  #: `scheme://host:port`, the same text for all spellings of one target


def parse_target(url: str) -> Target | None:
    """Return where a URL leads; None for one that `url_fault` refuses up to its path."""
    origin = _ORIGIN.match(url)
    return _parse_origin(origin[1].lower()) if origin else None


@lru_cache(maxsize=4_096)  # the paths of an app's callbacks differ, their origins seldom do
def _parse_origin(origin: str) -> Target | None:
    if url_fault(origin) is not None:
        return None
    scheme, _, authority = origin.partition("://")
    if authority.startswith("["):
        text, _, port = authority[1:].partition("]")
        port = port[1:]
    else:
        text, _, port = authority.partition(":")
    address = parse_address(text)
    host = text if address is None else str(address)
    number = int(port) if port else DEFAULT_PORTS[scheme]
    return Target(
        scheme, host, number, address, f"{scheme}://{f'[{host}]' if ':' in host else host}:{number}"
    )
