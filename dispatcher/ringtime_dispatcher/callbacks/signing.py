"""Signatures of callbacks by Standard Webhooks 1.0, for apps that have a signing secret.

| header | holds |
|---|---|
| `webhook-id` | the schedule's id, the same in every attempt and replay |
| `webhook-timestamp` | when this attempt was made, in whole seconds since 1970 |
| `webhook-signature` | `v1,...`, of Ed25519 `v1a,...`, for each live secret, newest first, spaces between |

Signed is `{id}.{timestamp}.{body}`, the body to the byte; an id holds no dot. Receivers refuse a time that is
five minutes off. With two secrets a receiver that knows either accepts, so one can be replaced by the other.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from functools import lru_cache

from standardwebhooks import Webhook

from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.encryption.ed25519 import sign
from ringtime_shared.models.app import PRIVATE_PREFIX

_MOST_SIGNERS = 1_024  #: making one costs a fifth of a signature, so a miss does not matter


def signature_headers(delivery: Delivery, body: str | bytes, now_s: int) -> dict[str, str]:
    """Return the signature headers of one attempt; none if the app has no secret.

    Args:
        body: what is sent, to the byte; text is encoded in UTF-8.
        now_s: wall time of the attempt, seconds since 1970.
    """
    if not delivery.secrets:
        return {}
    message_id = str(delivery.schedule.schedule_id)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(_sign(each, message_id, now_s, body) for each in delivery.secrets),
    }


def _sign(secret: str, message_id: str, now_s: int, body: str | bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        plain = body if isinstance(body, bytes) else body.encode()
        return f"v1a,{b64encode(sign(secret, f'{message_id}.{now_s}.'.encode() + plain)).decode()}"
    # `Webhook.sign` of the library (1.1.0) takes text alone, puts it in a longer one and encodes that: there
    # is no such text for bytes that are no UTF-8. What is signed, and with which key, is the same here.
    if isinstance(body, bytes):
        signed = hmac.digest(_key_of(secret), f"{message_id}.{now_s}.".encode() + body, "sha256")
        return f"v1,{b64encode(signed).decode()}"
    # The library takes the clock face for UTC, whatever the zone.
    return _signer(secret).sign(message_id, datetime.fromtimestamp(now_s, UTC), body)


def _key_of(secret: str) -> bytes:
    return b64decode(secret.removeprefix("whsec_"))


@lru_cache(maxsize=_MOST_SIGNERS)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)
