"""The money that the sandbox holds: who was asked for how much, what became of it, which phones still ask."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

PENDING, SUCCESSFUL, FAILED = "Pending", "Successful", "Failed"


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


@dataclass
class Transaction:
    """A payin or a payout, as it was ordered, and its end."""

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
    # Whether the phone shows it and waits for a tap.
    asking: bool = False
    ended_at: str = ""
    # What was called back, and taken there.
    callbacks: list[str] = field(default_factory=list)
    called_back: threading.Event = field(default_factory=threading.Event)


class Money:
    """Knows no HTTP and no lock: its owner holds the one and the other."""

    def __init__(self) -> None:
        self.transactions: dict[str, Transaction] = {}
        self._named: defaultdict[tuple[str, str], list[Transaction]] = defaultdict(list)
        # Requests by `sp_transaction_id`, whatever became of them.
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
        """Oldest first; more than one only where it was taken more than once."""
        return list(self._named.get((sp_transaction_id, kind), []))

    def prompts(self) -> list[dict[str, str]]:
        """What the phones ask now, newest first."""
        names = ("sp_transaction_id", "msisdn", "amount", "description", "asked_at")
        asking = [each for each in self.transactions.values() if each.asking]
        return [{name: getattr(each, name) for name in names} for each in reversed(asking)]

    def how_many(self) -> dict[str, Any]:
        """`asked`: requests that arrived; `taken`: those that had an effect; `ends`: payins by their status."""
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


def end(transaction: Transaction, status: str, message: str) -> None:
    transaction.status, transaction.message, transaction.asking = status, message, False
    transaction.ended_at = now()
