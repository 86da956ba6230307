"""Which app may use what of the operator's: the entries of `kafka.topics` and of `callbacks.tls_grants`."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterable, Mapping

from ringtime_shared.errors import Violation
from ringtime_shared.settings import CallbackSettings

_INTERNAL = "__"  #: how the names of Kafka's own topics begin
_MOST_KEPT = 1_000


class AppGrants:
    """Entries `APP=NAME`; `*` stands for any characters, and `{app}` in the name for the app's id."""

    def __init__(self, entries: Iterable[str]) -> None:
        pairs = (entry.partition("=") for entry in entries)
        self._entries = [(_compile(app), name) for app, _, name in pairs]
        self._kept: dict[str, tuple[re.Pattern[str], ...]] = {}

    def allows(self, app_id: str, name: str) -> bool:
        """Whether the app may use what has this name."""
        return any(pattern.fullmatch(name) for pattern in self._patterns(app_id))

    def _patterns(self, app_id: str) -> tuple[re.Pattern[str], ...]:
        patterns = self._kept.get(app_id)
        if patterns is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            patterns = self._kept[app_id] = tuple(
                _compile(name, app_id) for app, name in self._entries if app.fullmatch(app_id)
            )
        return patterns


class TlsProfiles:
    """The TLS profiles that the operator has names for, and who may use them."""

    def __init__(self, settings: CallbackSettings) -> None:
        pairs = (entry.partition("=") for entry in settings.tls_profiles)
        self.folders: Mapping[str, str] = {name: folder for name, _, folder in pairs}  #: by name
        self._grants = AppGrants(settings.tls_grants)

    def is_open(self, app_id: str, name: str) -> bool:
        """Whether the app may use the profile of this name, if there is one."""
        return self._grants.allows(app_id, name)

    def check(self, app_id: str, name: str | None, field: str) -> list[Violation]:
        """Return what is wrong with the profile that an app names; the same for one that is not there and one
        that is another app's."""
        if name is None or (name in self.folders and self.is_open(app_id, name)):
            return []
        return [Violation(field, "must be a TLS profile that is open to this app")]


class TopicGrants(AppGrants):
    """The same for Kafka's topics, of which those of Kafka itself are open to nobody."""

    def allows(self, app_id: str, name: str) -> bool:
        """Whether the app may write to the topic."""
        return not name.startswith(_INTERNAL) and super().allows(app_id, name)


def _compile(wildcards: str, app_id: str = "{app}") -> re.Pattern[str]:
    """Return the pattern of a text with `*`. An app's id means itself, whatever characters it holds.

    `fnmatch` makes patterns that never go back over what they have matched, so many `*` cost no time.
    """
    parts = (glob.escape(part.replace("{app}", app_id)) for part in wildcards.split("*"))
    return re.compile(fnmatch.translate("*".join(parts)))
