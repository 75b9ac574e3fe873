"""Mobile money providers: their common interface, and the registry of all providers.

docs/adding_a_payment_provider.md explains how to add one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from django.utils.module_loading import import_string

from payments.models import Payment


class Said(str, Enum):
    """The meaning of a provider's response."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    # A complete response about this transaction, with a status word that we do not know, such as `Reversed`.
    OTHER = "other"
    # The provider gave no usable response. A request that moves money is then ambiguous and is never repeated
    # automatically.
    IN_DOUBT = "in_doubt"
    # The request was not written, or the provider refused it before processing. It may be repeated.
    NOT_TAKEN = "not_taken"
    # The provider does not know this transaction, or does not know it yet.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's response, or the reason why there is none."""

    said: Said
    provider_id: str = ""  # The id that the provider gave to the transaction.
    ours: str = ""  # Our reference, as repeated in the response.
    words: str = ""  # A sentence for an operator.
    http_status: int | None = None
    text: str = ""  # The raw body, truncated.
    ms: int = 0  # Duration in milliseconds.
    word: str = ""  # The provider's status word, truncated.


@dataclass(frozen=True, slots=True)
class Order:
    """A payment request or a payout."""

    reference: str  # Our reference, different for each payment and each payout.
    phone: str  # The payer or the payee, in E.164.
    network: str
    amount: int  # Whole UGX.
    description: str
    notify_url: str = ""  # The URL for the provider's notifications, or "".


class Provider(Protocol):
    """The interface of a provider.

    The methods raise no exception, even if the network fails. They never repeat a request that may have moved money.
    """

    name: str
    # The mobile networks that the provider serves, named as in NETWORK_PREFIXES.
    networks: frozenset[str]

    @property
    def longest(self) -> float:
        """Return the longest duration of one call, in seconds."""

    def collect(self, order: Order) -> Answer:
        """Request a payment, so that the provider shows a payment prompt on the payer's phone."""

    def status(self, provider_id: str) -> Answer:
        """Ask for the status of a payment or payout. `provider_id`: the id that the provider gave to it."""

    def payout(self, order: Order) -> Answer:
        """Request a payout, which sends money to a phone."""


_STATUS_WORDS = {
    Payment.Status.SUCCESS: ("SUCCESS", "SUCCESSFUL", "COMPLETED"),
    Payment.Status.FAILED: ("FAILED", "FAILURE", "REJECTED", "DECLINED", "CANCELLED", "EXPIRED"),
    Payment.Status.PENDING: ("PENDING", "PROCESSING"),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words}


def status_of(word: object) -> Payment.Status | None:
    """Return the status that a provider's status word means, or None for an unknown word. Case is ignored."""
    return _STATUSES.get(word.strip(" ").upper()) if isinstance(word, str) else None


def printable(text: str, longest: int) -> str:
    """Replace non-printable characters with U+FFFD, and truncate the text to `longest` characters.

    PostgreSQL rejects some of these characters, and others could change the display of a terminal.
    """
    shown = "".join(char if char.isprintable() and not "\ud800" <= char <= "\udfff" else "\ufffd" for char in text)
    return shown[:longest]


# Import paths of functions that return a provider, or None if it is not configured. The first provider is preferred.
_PROVIDERS = {"dmarkpay": "payments.providers.dmarkpay.client.configured"}


def configured() -> Iterator[Provider]:
    """Yield the providers whose settings are complete."""
    for path in _PROVIDERS.values():
        provider: Provider | None = import_string(path)()
        if provider is not None:
            yield provider


def current() -> Provider | None:
    """Return the preferred provider. None means that no provider is configured and a third party collects payments."""
    return next(configured(), None)


def for_network(network: str) -> Provider | None:
    """Return the first configured provider that serves this network, or None."""
    return next((provider for provider in configured() if network in provider.networks), None)


def named(name: str) -> Provider | None:
    """Return the provider with this name, or None if it is unknown or not configured."""
    path = _PROVIDERS.get(name)
    provider: Provider | None = import_string(path)() if path else None
    return provider
