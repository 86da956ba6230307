"""Which refusals are not about the form of a request, which is all that the OpenAPI document tells of.

It imports nothing of ours: Schemathesis, which has packages of its own, reads it as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: A hook is what a callback is, at another place.
_HOOK = re.compile(r"^(configuration\.)?hooks\.on(Success|Failure|Missed)\.details\b")

#: One header is among `headers` and `secretHeaders`, or twice in one of them but for upper and lower case; a
#: name that cannot be shown is left out.
_HEADER_TWICE = re.compile(r"^callback\.details\.(headers|secretHeaders)(\.|$)")

#: Refusals that are not about form: (field, words of the rule). Each needs the app, the clock, or two fields.
_STATE = (
    ("appId", "no app"),
    ("appId", "is active already"),
    ("appId", "is deactivated"),
    ("scheduleTime", "must not be in the past"),
    ("scheduleTime", "must be less than"),
    ("scheduleTime", "days ahead"),
    ("delaySeconds", "days ahead"),
    ("payload", "bytes"),
    ("payload", "must be base64"),  # as another field says
    ("retryPolicy.attempts", "must be from 1 to"),
    ("retryPolicy.maxAgeSeconds", "must be from 1 to"),
    ("retryPolicy.firstDelayMs", "must not exceed maxDelayMs"),
    ("configuration.retryPolicy.maxAgeSeconds", "must be from 1 to"),
    ("configuration.retryPolicy.firstDelayMs", "must not exceed maxDelayMs"),
    ("configuration.httpRetries", "must be the same as"),
    ("configuration.tlsProfile", "must be a TLS profile that is open"),  # by the operator's settings
    ("tlsProfile", "must be a TLS profile that is open"),
    ("callback.details.headers", "names and values together"),
    ("callback.details.secretHeaders", "names and values together"),  # with those of `headers`, as the next
    ("callback.details.secretHeaders", "must be at most"),
    ("start_time", "must"),
    ("start_time", "has no meaning for"),
    ("startTime", "must"),
    ("end_time", "must"),
    ("end_time", "has no meaning for"),
    ("zone", "must be the name of a time zone"),
    ("continuation_token", "must be the continuation token of an earlier answer"),
    ("continuationToken", "must be the continuation token of an earlier answer"),
    ("continuation_token", "goes on after end_time"),
    ("continuationToken", "goes on after endTime"),
    ("app_id", "no registered app"),
    ("leave", "no node"),
    ("httpRetries", "must be the same as"),
    ("cronExpression", ""),  # its grammar is not in the document
    ("interval", ""),
    ("interval.every", "must be a whole number from 1 to"),
    ("interval.anchorTime", ""),
    ("timeZone", ""),
    ("endTime", "must"),
    ("exclusionCalendars", "no calendar"),
    ("windowMs", "must"),
    ("windowShare", "must"),
    ("windowSpread", "must not be given without"),
    ("completionTimeoutSeconds", ""),
    ("errorMessage", "goes with"),
    ("misfireMost", "must"),
    ("maxRuns", "must"),
    ("name", "no recurring schedule"),
    ("name", "no named schedule"),
    ("name", "no calendar"),
    ("dates", "from 1970"),
    ("spans", "which is later"),
    ("ics", ""),  # its grammar is not in the document
    ("until", "must"),
    ("secretId", "no signing secret"),
    ("secret", "must be left out: private keys are made here"),  # of the kind ed25519
    ("scheduleId", "no schedule"),
    ("scheduleId", "given twice"),  # in one import
    ("scheduleId", "must not be an id of the form"),  # which the document says in words
    ("scheduleId", "no run to complete"),
    ("jobId", "no job"),
    ("status", "must be FAILURE or left out"),
    ("status", "has no meaning for"),
    ("reason", "has a meaning for pause alone"),
    ("until", "has a meaning for pause alone"),
    ("idempotencyKey", "only for one-time schedules"),
    ("idempotencyKey", "must be that of the header"),
    ("payloadEncoding", "goes with a payload"),
    ("callback.details.url", "the target is not allowed"),
    ("body", "must change something"),
    ("to", "must"),
    ("from", "must"),
)


#: Of objects of any keys, which no schema can tell: the document does in words.
_IN_WORDS = (
    "a whole number must fit 64 bits",
    "given twice; keys do not tell upper from lower case",
    "must be the value itself; *** stands where one is hidden",
)


def is_of_state(field: str, rule: str) -> bool:
    """Whether a refusal is about what there is, the clock, two fields, or what the document says in words."""
    field = _HOOK.sub("callback.details", field)
    if _HEADER_TWICE.match(field) and rule.startswith(("given twice", "is one of headers already")):
        return True
    return rule in _IN_WORDS or any(field == known and words in rule for known, words in _STATE)


def errors_of_form(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what an answer, or an item of one of many, says if it is a refusal that may be for its form."""
    results = answer["data"].get("results", ()) if answer["status"]["statusCode"] == 207 else [answer]
    told = (each.get("status", {}) for each in results)
    return [
        error for each in told if each.get("statusCode") in (400, 404) for error in each.get("errors", ())
    ]
