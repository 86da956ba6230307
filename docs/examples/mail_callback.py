"""A callback type of one's own: `mail` sends the payload to somebody by SMTP.

A schedule's `callback` is `{"type": "mail", "details": {"to": "kim@example.org", "subject": "..."}}`. The
server to send by is in the environment of the dispatchers, where no tenant can choose it: `MAIL_HOST`,
`MAIL_PORT`, `MAIL_SENDER`. Load it with `RINGTIME_CALLBACKS_TYPES=mail_callback:MailCallback`.
"""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
from collections.abc import Mapping
from email.message import EmailMessage

from ringtime import CallbackType, Delivery, Reply, Violation

ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
MOST_SUBJECT_CHARS = 200


class MailCallback(CallbackType):
    """One mail a delivery."""

    name = "mail"

    def __init__(self) -> None:
        self._host = os.environ.get("MAIL_HOST", "localhost")
        self._port = int(os.environ.get("MAIL_PORT", "25"))
        self._sender = os.environ.get("MAIL_SENDER", "ringtime@localhost")

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Refuse at creation whatever could not be sent later."""
        violations = []
        to, subject = details.get("to"), details.get("subject", "")
        if not isinstance(to, str) or not ADDRESS.fullmatch(to):
            violations.append(Violation("callback.details.to", "required: one mail address"))
        if not isinstance(subject, str) or len(subject) > MOST_SUBJECT_CHARS or not subject.isprintable():
            rule = f"must be printable text of at most {MOST_SUBJECT_CHARS} characters"
            violations.append(Violation("callback.details.subject", rule))
        return violations

    def destination(self, details: Mapping[str, object]) -> str:
        """All mails go through one server, so they share one breaker and one cap on attempts in flight."""
        return f"smtp://{self._host}:{self._port}"

    async def invoke(self, delivery: Delivery) -> Reply:
        """Send one mail. smtplib blocks, so it runs in a thread, and ends by its own timeout."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self._sender, str(delivery.details["to"])
        mail["Subject"] = str(delivery.details.get("subject", ""))
        mail["Message-ID"] = f"<{delivery.schedule.schedule_id}@ringtime>"  # the same on every attempt
        mail.set_content(delivery.schedule.payload)
        try:
            await asyncio.to_thread(self._send, mail, delivery.timeout_ms / 1_000)
        except smtplib.SMTPRecipientsRefused as error:
            [(code, _)] = error.recipients.values()
            return Reply(ok=False, error=f"the recipient was refused: {code}", is_final=code >= 500)
        except smtplib.SMTPResponseException as error:
            return Reply(ok=False, error=f"the mail server answered {error.smtp_code}")
        except (OSError, smtplib.SMTPException) as error:
            return Reply(ok=False, error=f"no good answer from the mail server: {type(error).__name__}")
        return Reply(ok=True)

    def _send(self, mail: EmailMessage, timeout_s: float) -> None:
        with smtplib.SMTP(self._host, self._port, timeout=timeout_s) as server:
            server.send_message(mail)
