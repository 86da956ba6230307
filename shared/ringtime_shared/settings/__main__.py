"""Print the reference of all settings, as docs/settings.md holds it."""

import sys

from ringtime_shared.settings.describe import describe_settings

sys.stdout.write(describe_settings())
