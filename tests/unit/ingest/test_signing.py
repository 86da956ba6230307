"""Signing secrets without transport: what happens when others change the app at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig

from ringtime_ingest.service.signing import SigningSecrets
from ringtime_shared.errors import Conflict, InvalidRequest, NotFound, OutcomeUnknown, VersionConflict
from ringtime_shared.models.app import App

STRANGER = "0123456789abcdef"
OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def rig() -> ServiceRig:
    rig = await make_service_rig()
    await rig.register()
    return rig


@pytest.fixture
def signing(rig: ServiceRig) -> SigningSecrets:
    return rig.service.signing


async def stored(rig: ServiceRig) -> App:
    app = await rig.store.real.fetch_app("shop")
    assert app is not None
    return app


async def test_each_change_is_one_version(rig: ServiceRig, signing: SigningSecrets) -> None:
    before = await stored(rig)
    made = await signing.create("shop")
    assert await stored(rig) == replace(before, secrets=(made,), version=2)
    assert (made.created_ms, await signing.fetch("shop")) == (START_MS, (made,))
    await signing.delete("shop", made.secret_id)
    assert await stored(rig) == replace(before, version=3)


async def test_of_three_at_once_two_are_made(rig: ServiceRig, signing: SigningSecrets) -> None:
    gate = rig.store.hold("replace_app")
    all_at_once = [asyncio.create_task(signing.create("shop")) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    told = await asyncio.gather(*all_at_once, return_exceptions=True)
    made = {each for each in told if not isinstance(each, BaseException)}
    assert [type(each) for each in told if isinstance(each, BaseException)] == [Conflict]
    assert set(await signing.fetch("shop")) == made
    assert len(made) == 2


async def test_nothing_of_anothers_change_is_undone(rig: ServiceRig, signing: SigningSecrets) -> None:
    await _race(rig, replace(await stored(rig), active=False, version=2))
    made = await signing.create("shop")
    app = await stored(rig)
    assert (app.active, app.secrets, app.version) == (False, (made,), 3)


async def test_a_create_that_was_carried_out_unheard_is_done_once(
    rig: ServiceRig, signing: SigningSecrets
) -> None:
    rig.store.fail("replace_app", VersionConflict("a try of the driver's own came first"), carried_out=True)
    made = await signing.create("shop")
    assert await signing.fetch("shop") == (made,)


async def test_a_delete_that_was_carried_out_unheard_is_done(
    rig: ServiceRig, signing: SigningSecrets
) -> None:
    made = await signing.create("shop")
    rig.store.fail("replace_app", VersionConflict("a try of the driver's own came first"), carried_out=True)
    await signing.delete("shop", made.secret_id)
    assert await signing.fetch("shop") == ()


async def test_an_app_that_never_stands_still_is_a_conflict(rig: ServiceRig, signing: SigningSecrets) -> None:
    rig.store.fail("replace_app", *[VersionConflict("changed")] * 100)
    with pytest.raises(VersionConflict, match="all the time"):
        await signing.create("shop")
    assert rig.store.names().count("replace_app") == 10


async def test_an_outcome_that_stays_unknown_is_told(rig: ServiceRig, signing: SigningSecrets) -> None:
    rig.store.fail("replace_app", OutcomeUnknown("silence"))
    with pytest.raises(OutcomeUnknown):
        await signing.create("shop", OWN)
    rig.store.fail("replace_app", OutcomeUnknown("silence"), carried_out=True)
    with pytest.raises(OutcomeUnknown):
        await signing.create("shop", OWN)
    with pytest.raises(Conflict, match="already, as "):
        await signing.create("shop", OWN)


async def test_what_is_not_there_is_not_found(signing: SigningSecrets) -> None:
    for call in (signing.create("no"), signing.fetch("no"), signing.delete("no", STRANGER)):
        with pytest.raises(NotFound, match="app no"):
            await call
    with pytest.raises(NotFound, match=f"signing secret {STRANGER}"):
        await signing.delete("shop", STRANGER)


async def test_bad_values_are_refused_without_a_look_at_the_store(
    rig: ServiceRig, signing: SigningSecrets
) -> None:
    rig.store.calls.clear()
    with pytest.raises(InvalidRequest, match="24 to 64 random bytes"):
        await signing.create("shop", OWN[:-4])
    with pytest.raises(InvalidRequest, match="secretId"):
        await signing.delete("shop", OWN)
    assert rig.store.calls == []


async def _race(rig: ServiceRig, other: App) -> None:
    """Let somebody else store `other` just before the next change of an app gets there."""
    real = rig.store.real.replace_app

    async def second(app: Any) -> None:
        rig.store.real.replace_app = real  # type: ignore[method-assign]
        await real(other)
        await real(app)

    rig.store.real.replace_app = second  # type: ignore[method-assign]
