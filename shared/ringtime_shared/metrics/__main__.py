"""Write the table of instruments into the page that is named, docs/metrics.md."""

import sys
from pathlib import Path

from ringtime_shared.metrics.reference import with_instruments

_page = Path(sys.argv[1])
_page.write_text(with_instruments(_page.read_text()))
