"""goscheduler behind Ringtime: creates and cancels that are forwarded, and the tap that it calls.

What holds is in `ringtime_shared.shadow`. `Forwarding` stands before the commit path, for apps in shadow
alone; `TapCalls` takes what goscheduler calls, asks who is to deliver it, and passes it on by `Receivers` or
keeps it. No request can name where the tap goes: that is in a ticket which `Forwarding` has signed.
"""

from ringtime_ingest.shadow.forwarding import Forwarding, alias_of, check_forwardable, in_shadow
from ringtime_ingest.shadow.receivers import Receivers
from ringtime_ingest.shadow.tap import Passed, TapCalls

__all__ = ["Forwarding", "Passed", "Receivers", "TapCalls", "alias_of", "check_forwardable", "in_shadow"]
