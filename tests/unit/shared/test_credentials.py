"""What is hidden of a callback that is shown, and what is not."""

from __future__ import annotations

import orjson
import pytest
from tests.contract.builders import make_app, make_row

from ringtime_client import HttpCallbackDetails
from ringtime_ingest.service import NewSchedule
from ringtime_shared.callbacks.credentials import MASK, hide, hide_details, is_credential
from ringtime_shared.callbacks.http_rules import check_http_details
from ringtime_shared.callbacks.protocol import Delivery

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "X-Authorization",
        "X-Auth",
        "X-Auth-Token",
        "Authentication",
        "Cookie",
        "X-Api-Key",
        "api_key",
        "ApiKey",
        "X-ApiKey",
        "Ocp-Apim-Subscription-Key",
        "X-Functions-Key",
        "x-goog-api-key",
        "X-Amz-Security-Token",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "access_token",
        "X-Gitlab-Token",
        "X-Vault-Token",
        "X-CSRF-Token",
        "Client-Secret",
        "X-Hub-Signature-256",
        "password",
        "passwd",
        "X-Pwd",
        "sig",
        "jwt",
        "X-Session-Id",
        "Private-Key",
        "accesskey",
    ],
)
def test_names_of_credentials(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Accept",
        "User-Agent",
        "X-Request-Id",
        "traceparent",
        "X-Author",
        "X-Authors",
        "Authority",
        "X-Monkey",
        "Keyboard",
        "X-Design",
        "Idempotency-Key",
        "Date",
        "page",
        "X-Tenant",
        "",
    ],
)
def test_other_names(name: str) -> None:
    assert not is_credential(name)


def test_what_is_shown_of_a_callback() -> None:
    details = {
        "url": "https://example.com/hook?a=1&access_token=s3&b&%74oken=s3&sig=&c=t=o",
        "method": "POST",
        "headers": {"Authorization": "Bearer s3", "Accept": "text/plain", "x-api-key": "s3"},
        "note": {"headers": {"a": 1}},
    }
    shown = {
        "url": f"https://example.com/hook?a=1&access_token={MASK}&b&%74oken={MASK}&sig={MASK}&c=t=o",
        "method": "POST",
        "headers": {"Authorization": MASK, "Accept": "text/plain", "x-api-key": MASK},
        "note": {"headers": {"a": 1}},
    }
    assert hide(details) == shown
    assert orjson.loads(hide_details(orjson.dumps(details))) == shown
    assert details["headers"] == {"Authorization": "Bearer s3", "Accept": "text/plain", "x-api-key": "s3"}


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"url": "https://example.com/?a=1", "headers": {"Accept": "x"}},
        {"url": 5, "headers": None},
        {"url": None, "headers": ["Authorization"]},
        {"number": 1.50, "headers": {"a": "?"}},
    ],
)
def test_what_holds_no_credential_is_shown_byte_for_byte(details: dict[str, object]) -> None:
    kept = orjson.dumps(details)
    assert hide_details(kept) == kept


def test_a_mask_is_no_value_to_send() -> None:
    details = {"url": "http://a", "method": "GET", "headers": {"Authorization": MASK, "X-Stars": MASK}}
    [violation] = check_http_details(details)
    assert violation.field == "callback.details.headers.Authorization"
    assert "hidden" in violation.rule


def test_no_repr_holds_a_credential() -> None:
    headers = {"Authorization": CANARY}
    url = f"https://example.com/?token={CANARY}"
    details: dict[str, object] = {"url": url, "method": "GET", "headers": headers}
    row = make_row(make_app(), callback_details=orjson.dumps(details))
    delivery = Delivery(schedule=row.schedule, details=details, attempt=1, term=1, timeout_ms=1)
    new = NewSchedule(app_id="a", payload="", callback_type="http", callback_details=details)
    own = HttpCallbackDetails(url=url, headers=headers)
    for each in (row, delivery, new, own):
        assert CANARY not in repr(each)
    assert repr(own) == (
        f"HttpCallbackDetails(url='https://example.com/?token={MASK}', method='POST',"
        f" headers={{'Authorization': '{MASK}'}})"
    )
    assert own.to_json()["details"] == details | {"method": "POST"}
