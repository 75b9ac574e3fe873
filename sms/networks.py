"""Mobile networks: the network of a phone number, and the display name of a network. The prefixes of each network
are in the setting NETWORK_PREFIXES.
"""

from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db.models.functions import Substr

# Display names that are written in capitals. For any other network, only the first letter is a capital: `Airtel`.
_NAMES = {"mtn": "MTN"}


def name(network: str) -> str:
    """Return the display name of a network, such as "MTN" for "mtn"."""
    return _NAMES.get(network, network.title())


def network_of(phone: str) -> str:
    """Return the network with the longest matching prefix, or "" if no prefix matches.

    `phone`: a number in E.164, or its first digits.
    """
    local = "0" + phone.removeprefix("+256")
    matches = [
        (len(prefix), network.lower())
        for network, prefixes in _prefixes().items()
        for prefix in prefixes
        if local.startswith(prefix)
    ]
    return max(matches)[1] if matches else ""


def deciding_digits() -> Substr:
    """Return a query expression for the first digits of the column `phone`, as many as `network_of` needs."""
    longest = max((len(prefix) for prefixes in _prefixes().values() for prefix in prefixes), default=1)
    return Substr("phone", 1, len("+256") + longest - 1)


def _prefixes() -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] = getattr(settings, "NETWORK_PREFIXES", None) or {}
    return found
