"""What spans and their attributes are called."""

from __future__ import annotations

CREATE, FIRE = "ringtime.create", "ringtime.fire"
APP, SCHEDULE, RECURRING = "ringtime.app_id", "ringtime.schedule_id", "ringtime.recurring_id"
ATTEMPT, REPLAY, LAG_MS = "ringtime.attempt", "ringtime.replay", "ringtime.lag_ms"
TYPE, ITEMS = "ringtime.callback_type", "ringtime.items"
STATUS, ERROR_TYPE = "http.response.status_code", "error.type"
