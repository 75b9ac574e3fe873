"""Payins and payouts, their statuses, and the payment prompts that are open on the phones."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from sms.sandbox.state import now

PENDING, SUCCESSFUL, FAILED = "Pending", "Successful", "Failed"


@dataclass
class Transaction:
    """A payin or a payout as requested, and its status."""

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
    # The phone shows the prompt and waits for a tap.
    asking: bool = False
    ended_at: str = ""
    # The notifications sent, with " (refused)" unless the receiver answered 2xx.
    callbacks: list[str] = field(default_factory=list)
    called_back: threading.Event = field(default_factory=threading.Event)

    def end(self, status: str, message: str) -> None:
        self.status, self.message, self.asking = status, message, False
        self.ended_at = now()


class Transactions:
    """Takes no lock: the caller holds the state's lock."""

    def __init__(self) -> None:
        self.transactions: dict[str, Transaction] = {}
        self._named: defaultdict[tuple[str, str], list[Transaction]] = defaultdict(list)
        # Requests by `sp_transaction_id`, including those that failed.
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
        """Oldest first. More than one if the same request was taken more than once."""
        return list(self._named.get((sp_transaction_id, kind), []))

    def prompts(self) -> list[dict[str, str]]:
        """The open payment prompts, newest first."""
        names = ("sp_transaction_id", "msisdn", "amount", "description", "asked_at")
        asking = [each for each in self.transactions.values() if each.asking]
        return [{name: getattr(each, name) for name in names} for each in reversed(asking)]

    def counts(self) -> dict[str, Any]:
        """`asked`: requests received; `taken`: requests that took effect; `ends`: transactions by status."""
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
