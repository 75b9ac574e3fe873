"""The mobile network of a number, by its longest prefix."""

from typing import Any

import pytest

from payments.phones import network_of


@pytest.mark.parametrize(
    ("phone", "network"),
    [("+256772123456", "mtn"), ("+256779123456", "airtel"), ("+256752123456", "airtel"), ("+256712123456", "")],
)
def test_the_longest_prefix_decides(settings: Any, phone: str, network: str) -> None:
    settings.NETWORK_PREFIXES = {"MTN": ["077"], "Airtel": ["0779", "075"]}
    assert network_of(phone) == network
