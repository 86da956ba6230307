"""A store for those who take requests: what they write is encrypted, what they read is decrypted.

So nobody in between knows of encryption: a put that asks for what is there finds it the same, a patch of a
recurring schedule has all of it to go on, and rows go to the driver encrypted, whoever files them. Answers
hide what is plain here as they hide what is encrypted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from ringtime_shared.callbacks.credentials import CIPHERTEXT_MARK, has_plain
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import (
    decrypt_app,
    decrypt_definition,
    decrypt_row,
    encrypt_app,
    encrypt_definition,
    encrypt_row,
)
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.stores.protocol import DefinitionKey, DuePage, DueQuery

S = TypeVar("S")


def encrypted_store(store: S, ring: KeyRing | None) -> S:
    """Return the store, as those see it who take requests; without a ring the store itself."""
    return store if ring is None else cast(S, _EncryptedStore(store, ring))


class _EncryptedStore:
    """What is not named here goes to the driver as it is."""

    def __init__(self, store: Any, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring

    def __getattr__(self, name: str) -> Any:
        """Remember a method of the driver, so that it is looked for once."""
        method = getattr(self._store, name)
        setattr(self, name, method)
        return method

    async def create_app(self, app: App) -> App:
        return decrypt_app(self._ring, await self._store.create_app(encrypt_app(self._ring, app)))

    async def replace_app(self, app: App) -> None:
        await self._store.replace_app(encrypt_app(self._ring, app))

    async def fetch_app(self, app_id: str) -> App | None:
        app = await self._store.fetch_app(app_id)
        return None if app is None else decrypt_app(self._ring, app)

    async def fetch_apps(self) -> list[App]:
        return [decrypt_app(self._ring, app) for app in await self._store.fetch_apps()]

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        return [decrypt_app(self._ring, app) for app in await self._store.fetch_some_apps(app_ids)]

    async def put_rows(self, rows: Sequence[Row]) -> None:
        ring, written = self._ring, list[Row]()
        for row in rows:
            schedule = row.schedule
            is_plain = schedule.sending is None and not has_plain(schedule.callback_details)  # as nearly all
            written.append(row if is_plain else encrypt_row(ring, row))
        await self._store.put_rows(written)

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        row = await self._store.fetch_row(place, schedule_id)
        return None if row is None else self._decrypted(row)

    async def fetch_rows(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        pages: list[DuePage] = await self._store.fetch_rows(queries)
        return [
            DuePage([self._decrypted(row) for row in page.rows], page.next, page.damaged) for page in pages
        ]

    def _decrypted(self, row: Row) -> Row:
        schedule = row.schedule
        if schedule.sending is None and CIPHERTEXT_MARK not in schedule.callback_details:
            return row  # as nearly all
        return decrypt_row(self._ring, row)

    async def replace_definition(self, definition: Definition) -> None:
        await self._store.replace_definition(encrypt_definition(self._ring, definition))

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        definition = await self._store.fetch_definition(key)
        return None if definition is None else decrypt_definition(self._ring, definition)

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        found: dict[DefinitionKey, Definition] = await self._store.fetch_definitions(keys)
        return {key: decrypt_definition(self._ring, each) for key, each in found.items()}

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        found = await self._store.list_definitions(app_id, after, limit)
        return [decrypt_definition(self._ring, each) for each in found]
