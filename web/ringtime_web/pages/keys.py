"""API keys: which there are, what each may do, when it was used last. Never a key itself."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import safe, with_query
from ringtime_shared.api.keys import KeyList
from ringtime_shared.api.views import read
from ringtime_web.site import Site, Visit

SIZE = 100
KINDS = {"active": "good", "expired": "idle", "revoked": "idle", "cannot be read": "bad"}


class KeyPages:
    """One page, of all keys."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the route."""
        return [self._site.page("/keys", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show a page of them."""
        found = await list_keys(visit, after=visit.query("after"))
        more = found.keys[-1].key_id if len(found.keys) == SIZE else ""
        return visit.render("keys.html", found=found, kinds=KINDS, more=more)


async def list_keys(visit: Visit, app_id: str = "", *, after: str = "") -> KeyList:
    """Return the keys that may do something with an app; "": all."""
    of_app = f"/apps/{safe(app_id)}" if app_id else ""
    path = with_query(f"{BASE}{of_app}/keys", {"size": SIZE, "after": after})
    return await visit.api.run(Call(method="GET", path=path, read=partial(read, KeyList), app_id=app_id))
