"""The HTTP client under its other name: `ringtime.client` is `ringtime_client`."""

from ringtime_client import *  # noqa: F403
from ringtime_client import __all__ as __all__
