"""The sandbox's payins (payments to us), payouts, and open payment prompts."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from playmatatu.sandbox.money.faults import Faults
from sms.sandbox import state
from sms.sandbox.state import now

PENDING, SUCCESSFUL, FAILED = "Pending", "Successful", "Failed"


class Network(NamedTuple):
    """A mobile network. `brand`: its name in payment prompts. `css`: the CSS class for its colors."""

    wallet: str
    brand: str
    css: str


# The mobile networks, by DMarkPay's payment method.
NETWORKS = {
    "mtn_mobile_money": Network("mtn", "MTN MoMo", "mtn"),
    "airtel_mobile_money": Network("airtel_oapi", "Airtel Money", "airtel"),
}


@dataclass
class Transaction:
    """A payin or payout: the fields of its request, and its current status."""

    transaction_id: str
    kind: str
    sp_transaction_id: str
    msisdn: str
    amount: str
    description: str
    notify_url: str
    payment_method: str
    asked_at: str = field(default_factory=now)
    started: float = field(default_factory=time.monotonic)
    status: str = PENDING
    message: str = "Transaction pending"
    # True while the phone shows the payment prompt.
    asking: bool = False
    ended_at: str = ""
    # Status words of the notifications sent. " (refused)" is added if the receiver did not accept the notification.
    callbacks: list[str] = field(default_factory=list)
    called_back: threading.Event = field(default_factory=threading.Event)

    def end(self, status: str, message: str) -> None:
        self.status, self.message, self.asking = status, message, False
        self.ended_at = now()


class Transactions:
    """All transactions of the sandbox. The caller must hold the `lock` of the sandbox's `State`."""

    def __init__(self) -> None:
        self.transactions: dict[str, Transaction] = {}
        self._named: defaultdict[tuple[str, str], list[Transaction]] = defaultdict(list)
        # Number of requests by kind and `sp_transaction_id` (our reference). Failed requests count too.
        self.asked: dict[str, Counter[str]] = {"payin": Counter(), "payout": Counter(), "status": Counter()}

    def add(self, kind: str, body: dict[str, Any]) -> Transaction:
        number = f"DP{time.time_ns():x}{len(self.transactions):04x}".upper()

        def given(name: str) -> str:
            return str(body.get(name) or "")

        transaction = Transaction(
            number,
            kind,
            given("sp_transaction_id"),
            given("msisdn"),
            given("amount"),
            given("description"),
            given("notify_url"),
            given("payment_method"),
        )
        self.transactions[number] = transaction
        self._named[transaction.sp_transaction_id, kind].append(transaction)
        return transaction

    def named(self, sp_transaction_id: str, kind: str) -> list[Transaction]:
        """Return the transactions with this reference and kind, oldest first.

        There are several if the sandbox accepted the same request again.
        """
        return list(self._named.get((sp_transaction_id, kind), []))

    def prompts(self) -> list[dict[str, str]]:
        """Return the open payment prompts, newest first."""
        names = ("sp_transaction_id", "msisdn", "amount", "description", "asked_at")
        asking = [each for each in self.transactions.values() if each.asking]
        return [{name: getattr(each, name) for name in names} for each in reversed(asking)]

    def counts(self) -> dict[str, Any]:
        """Return counts for scripts.

        `asked`: requests received. `taken`: requests that took effect. `ends`: transactions by status. `prompts`: open
        payment prompts.
        """
        taken = {"payin": Counter[str](), "payout": Counter[str]()}
        ends = {"payin": Counter[str](), "payout": Counter[str]()}
        for each in self.transactions.values():
            taken[each.kind][each.sp_transaction_id] += 1
            ends[each.kind][each.status] += 1
        return {
            "asked": {kind: dict(counter) for kind, counter in self.asked.items()},
            "taken": {kind: dict(counter) for kind, counter in taken.items()},
            "ends": {kind: dict(counter) for kind, counter in ends.items()},
            "prompts": sum(each.asking for each in self.transactions.values()),
        }


class State(state.State):
    """The state of a sandbox with SMS and payments."""

    faults_class: ClassVar[type[Faults]] = Faults
    faults: Faults

    def empty(self) -> None:
        super().empty()
        self.money = Transactions()

    def _counts(self) -> dict[str, Any]:
        return {**super()._counts(), "money": self.money.counts()}
