from collections.abc import Iterator

import pytest

from sms.testing import serving
from tests.playmatatu.sandbox.shop import Receiver, Shop
from tests.sandbox import Sandbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver.server):
        yield receiver


@pytest.fixture
def shop(sandbox: Sandbox, receiver: Receiver) -> Shop:
    sandbox.faults(callback_after=0)
    return Shop(sandbox, receiver.url)
