"""The seam between payments and whoever moves the money: one file a provider, beside this one."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Said(str, Enum):
    """What an answer comes to."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    # Written, and not answered in a way that can be relied on: never repeated by itself.
    IN_DOUBT = "in_doubt"
    # Surely not taken: it never left, or was turned away before it was read. It may be asked again.
    NOT_TAKEN = "not_taken"
    # The provider knows no such transaction (yet).
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """`ours`: our reference as the answer has it; `words`: for a person; `text`: the body, cut short."""

    said: Said
    provider_id: str = ""
    ours: str = ""
    words: str = ""
    http_status: int | None = None
    text: str = ""
    ms: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """Whole UGX from or to a phone (E.164), under a reference of ours that is used once."""

    reference: str
    phone: str
    network: str
    amount: int
    description: str
    notify_url: str = ""


class Provider(Protocol):
    """Every call answers and none raises, whatever the network does; none is repeated inside."""

    name: str

    @property
    def longest(self) -> float:
        """The seconds that one call can take."""

    def collect(self, order: Order) -> Answer: ...

    def status(self, provider_id: str) -> Answer:
        """What became of a collection or a payout, by the provider's id."""

    def payout(self, order: Order) -> Answer: ...


def current() -> Provider | None:
    """Who collects now; None: nobody does, for us."""
    from payments.providers import dmarkpay

    client = dmarkpay.DMarkPay()
    return client if client.config.enabled else None


def named(name: str) -> Provider | None:
    """Who collected then; None when it is not set up any more."""
    client = current()
    return client if client is not None and client.name == name else None
