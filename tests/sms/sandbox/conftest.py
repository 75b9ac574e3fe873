"""The tests here use the sandbox of the `sms` app alone, without the money."""

from collections.abc import Iterator

import pytest

from sms.sandbox.server import Server
from sms.testing import serving


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Server]:
    with serving(Server(0)) as server:
        yield server
