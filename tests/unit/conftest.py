"""One root certificate, which signed nothing, in place of the machine's.

To read those takes 15 ms each time that a dispatcher is made, and no unit test speaks to anybody whom one of
them vouches for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT_CERTIFICATE = Path(__file__).with_name("root.pem")


@pytest.fixture(scope="session", autouse=True)
def _few_roots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(ROOT_CERTIFICATE))
        yield
