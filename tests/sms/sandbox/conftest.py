"""The tests in this folder use the sandbox for SMS, without payments."""

from collections.abc import Iterator

import pytest

from sms.sandbox.server import Server
from sms.testing import serving


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Server]:
    with serving(Server(0)) as server:
        yield server
