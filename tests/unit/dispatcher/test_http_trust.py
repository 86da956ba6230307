"""Certificates of https callbacks: the operator's, those of an app's profile, and the words of a fault."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.builders import make_app
from tests.harness.tls_server import TlsServer, tls_server
from tests.unit.dispatcher.http_rig import OPEN, SITE, Site, delivery, serving

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_dispatcher.callbacks.http.trust import Trust
from ringtime_dispatcher.delivery.policy import Policies
from ringtime_local import Authority, TlsFiles
from ringtime_shared import certificates
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.errors import SettingsError, StartupError
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import (
    AppLimits,
    CallbackSettings,
    DispatchSettings,
    RetrySettings,
    Settings,
    check_settings,
)

APP_ID, HOST = "shop", "callback.test"
OK = Reply(ok=True, code=200)
NOBODY = "could not connect: the certificate is signed by nobody who is trusted here"


class Town:
    """An authority of the operator's, one of a partner, and folders of profiles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public = Authority(folder / "public", "public")
        self.own = Authority(folder / "own", "own")
        self.partner = Authority(folder / "partner", "partner")

    def profile(self, name: str, *, ca: Path | None = None, client: TlsFiles | None = None) -> str:
        """Make a profile; return its entry in the settings."""
        folder = self.folder / "profiles" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        if ca is not None:
            (folder / "ca.crt").write_bytes(ca.read_bytes())
        if client is not None:
            (folder / "tls.crt").write_bytes(client.cert.read_bytes())
            (folder / "tls.key").write_bytes(client.key.read_bytes())
        return f"{name}={folder}"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return Town(tmp_path_factory.mktemp("town"))


@pytest.fixture(autouse=True)
def roots(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's roots are one that no server here has its certificate from."""
    monkeypatch.setenv("SSL_CERT_FILE", str(town.public.ca))
    monkeypatch.setenv("SSL_CERT_DIR", str(town.folder / "none"))


def server_of(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context


def caller(*profiles: str, ca_file: Path | str = "", grants: Sequence[str] = ("*=*",)) -> HttpCallback:
    settings = CallbackSettings(ca_file=str(ca_file), tls_profiles=profiles, tls_grants=tuple(grants))
    resolver = Resolver(OPEN, lookup=lambda _: [SITE])
    return HttpCallback(EgressPolicy.of(OPEN), resolver, trust=Trust(settings))


async def call(http: HttpCallback, site: Site | TlsServer, profile: str = "", scheme: str = "https") -> Reply:
    each = delivery(f"{scheme}://{HOST}:{site.port}/")
    schedule = replace(each.schedule, app_id=APP_ID)
    return await http.invoke(replace(each, schedule=schedule, tls_profile=profile))


async def test_the_operators_authority_is_trusted_for_all_and_a_partners_where_it_is_named(
    town: Town,
) -> None:
    own, partner = town.own.issue("site", HOST), town.partner.issue("site", HOST)
    pinned = town.profile("partner", ca=town.partner.ca)
    async with serving(tls=server_of(own)) as ours, serving(tls=server_of(partner)) as theirs:
        http = caller()
        assert (await call(http, ours)).error == NOBODY
        await http.close()
        http = caller(pinned, ca_file=town.own.ca)
        assert await call(http, ours) == OK
        assert await call(http, ours, "partner") == OK
        assert await call(http, theirs, "partner") == OK
        # A connection of the one profile is there, idle; the other has none of it.
        assert (await call(http, theirs)).error == NOBODY
        assert len(theirs.requests) == 1
        await http.close()


async def test_a_client_certificate_is_shown_by_those_who_have_it(town: Town) -> None:
    mine = town.profile("mine", ca=town.own.ca, client=town.own.issue("client"))
    foreign = town.profile("foreign", ca=town.own.ca, client=town.partner.issue("client"))
    with tls_server(town.own.issue("site", HOST), wants_client=True, host=SITE) as site:
        http = caller(mine, foreign, ca_file=town.own.ca)
        assert await call(http, site, "mine") == OK
        for profile, why in (("", "wants one, and has got none"), ("foreign", "does not know who signed it")):
            reply = await call(http, site, profile)
            assert reply.error == f"the connection broke: our certificate was refused: the other side {why}"
            assert reply.blames_destination
        assert len(site.requests) == 1
        await http.close()


async def test_whom_a_profile_is_for(town: Town) -> None:
    entry = town.profile("bank", ca=town.own.ca)
    tls = server_of(town.own.issue("site", HOST))
    async with serving(tls=tls) as site, serving() as plain:
        for grants in ((f"{APP_ID}=bank",), ("s*=b*",)):
            http = caller(entry, grants=grants)
            assert await call(http, site, "bank") == OK
            await http.close()
        http = caller(entry, grants=CallbackSettings().tls_grants)
        closed = Reply(ok=False, error="the TLS profile bank is not open to this app")
        assert await call(http, site, "bank") == closed
        assert not (await call(http, site, APP_ID)).ok
        assert (await call(http, site, APP_ID)).error == f"this dispatcher knows no TLS profile {APP_ID}"
        assert await call(http, plain, "bank", scheme="http") == OK  # which has no certificates
        await http.close()


async def test_a_profile_that_changes_is_read_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_LOOK_S", 0.0)
    entry = town.profile("turning", ca=town.partner.ca)
    tls = server_of(town.own.issue("site", HOST))
    async with serving(tls=tls) as site:
        http = caller(entry)
        assert (await call(http, site, "turning")).error == NOBODY
        town.profile("turning", ca=town.own.ca)
        assert await call(http, site, "turning") == OK
        await http.close()


def test_settings_and_folders_that_cannot_be_used(town: Town) -> None:
    half = town.profile("half", ca=town.own.ca, client=town.own.issue("half"))
    (Path(half.partition("=")[2]) / "tls.key").unlink()
    for profile, words in ((town.profile("empty"), "has neither"), (half, "No such file")):
        with pytest.raises(StartupError, match=words):
            caller(profile)
    with pytest.raises(StartupError, match="callbacks"):
        caller(ca_file="/nowhere/ca.pem")
    for profiles in (("a=x", "a=y"), ("a",), ("a b=x",), ("a=",)):
        with pytest.raises(SettingsError):
            check_settings(Settings(callbacks=CallbackSettings(tls_profiles=profiles)))


def test_the_profile_is_the_apps_setting() -> None:
    policies = Policies(DispatchSettings(), RetrySettings(), AppLimits())
    app = make_app(configuration=AppConfiguration(tls_profile="bank"))
    assert policies.of_app(app.app_id, app).tls_profile == "bank"
    assert policies.of_app("gone", None).tls_profile == ""
