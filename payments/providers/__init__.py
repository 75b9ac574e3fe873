"""Providers of mobile money: what payments needs of one, and the registry of those that exist.

docs/adding_a_payment_provider.md says how to add one. Each is a package beside this file and an entry in `_PROVIDERS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from django.utils.module_loading import import_string


class Said(str, Enum):
    """The meaning of a provider's response."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    # A complete response about this transaction with a status word that we do not know, such as `Reversed`.
    OTHER = "other"
    # Ambiguous: the request was written and got no usable response. It is never repeated automatically.
    IN_DOUBT = "in_doubt"
    # The request was not written, or was refused before it was processed. It may be repeated.
    NOT_TAKEN = "not_taken"
    # The provider does not know this transaction (yet).
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's response, or the reason why there is none.

    `provider_id`: the provider's id of the transaction. `ours`: our reference as the response repeats it. `words`: a
    sentence for an operator. `text`: the raw body, truncated. `word`: the status word as received, truncated.
    """

    said: Said
    provider_id: str = ""
    ours: str = ""
    words: str = ""
    http_status: int | None = None
    text: str = ""
    ms: int = 0
    word: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A payment request or a payout: whole UGX from or to a phone (E.164), under a reference that is used once."""

    reference: str
    phone: str
    network: str
    amount: int
    description: str
    notify_url: str = ""


class Provider(Protocol):
    """Every method returns an Answer and raises nothing, whatever the network does.

    No method repeats a request that moves money.
    """

    name: str
    # The networks whose phones it can ask, as NETWORK_PREFIXES names them.
    networks: frozenset[str]

    @property
    def longest(self) -> float:
        """Return the longest time in seconds that one call can take."""

    def collect(self, order: Order) -> Answer:
        """Request a payment: the payer's phone shows a prompt."""

    def status(self, provider_id: str) -> Answer:
        """Poll a payment or a payout by the provider's id."""

    def payout(self, order: Order) -> Answer:
        """Send money to a phone."""


# In the order of preference for new payments.
_PROVIDERS = {"dmarkpay": "payments.providers.dmarkpay.client.configured"}


def configured() -> Iterator[Provider]:
    """Yield the providers whose settings are complete."""
    for path in _PROVIDERS.values():
        provider: Provider | None = import_string(path)()
        if provider is not None:
            yield provider


def current() -> Provider | None:
    """Return the provider that collects new payments; None if a third party collects."""
    return next(configured(), None)


def for_network(network: str) -> Provider | None:
    """Return the first configured provider that serves this network."""
    return next((provider for provider in configured() if network in provider.networks), None)


def named(name: str) -> Provider | None:
    """Return the provider of that name, which an older payment may need; None if it is not configured any more."""
    path = _PROVIDERS.get(name)
    provider: Provider | None = import_string(path)() if path else None
    return provider
