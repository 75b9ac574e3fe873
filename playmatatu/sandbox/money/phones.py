"""Phones that show payment prompts, and DMarkPay's notifications about the answers."""

from typing import Any

from playmatatu.sandbox.money.transactions import FAILED, PENDING, SUCCESSFUL, State, Transaction
from sms.sandbox.later import push

ANSWERS = ("pay", "decline")
# A notification without a response is repeated: 3 requests in total, 2 seconds apart.
TRIES, TRY_AGAIN = 3, 2.0
_OPPOSITE = {SUCCESSFUL: FAILED, FAILED: SUCCESSFUL}


class Notifier:
    def __init__(self, state: State) -> None:
        self.state = state

    def word(self, status: str) -> str:
        return {"UPPER": status.upper(), "lower": status.lower()}.get(self.state.faults.pay_words, status)

    def body(self, transaction: Transaction, status: str = "") -> dict[str, Any]:
        """Return the fields that every response and notification about a transaction has.

        `status`: replaces the transaction's own status, if not empty.
        """
        return {
            "status": self.word(status or transaction.status),
            "status_code": "0",
            "transaction_id": transaction.transaction_id,
            "sp_transaction_id": transaction.sp_transaction_id,
            "message": transaction.message,
        }

    def asked(self, transaction: Transaction) -> None:
        if self.state.faults.callback == "pending_first":
            self._put(0, transaction, PENDING)

    def ended(self, transaction: Transaction) -> None:
        faults = self.state.faults
        after, status = faults.callback_after, transaction.status
        words = {
            "before": [(status, 0.0)],
            "late": [(status, after + faults.late_seconds)],
            "never": [],
            "twice": [(status, after), (status, after + 0.3)],
            "contradicts": [(status, after), (_OPPOSITE[status], after + 0.3)],
            "lies": [(_OPPOSITE[status], after)],
        }.get(faults.callback, [(status, after)])
        for word, delay in words:
            self._put(delay, transaction, word)
        if faults.callback.startswith("reverses"):
            self.state.later.put(after + 0.5, lambda: self.reverse(transaction))

    def reverse(self, transaction: Transaction) -> None:
        """Reverse a transaction that has ended.

        A notification is sent unless the switch `callback` is `reverses_unseen`.
        """
        faults = self.state.faults
        with self.state.lock:
            word = "Reversed" if faults.reversal == "Reversed" else _OPPOSITE[transaction.status]
            transaction.end(word, "Reversed")
            self.state.version += 1
        if faults.callback != "reverses_unseen":
            self._put(0, transaction, transaction.status)

    def _put(self, delay: float, transaction: Transaction, status: str, tries: int = 1) -> None:
        if transaction.notify_url:
            self.state.later.put(delay, lambda: self._push(transaction, status, tries))

    def _push(self, transaction: Transaction, status: str, tries: int) -> None:
        faults = self.state.faults
        garbled = faults.callback == "garbage"
        answer = push(transaction.notify_url, self.body(transaction, status), faults.callback_method, garbled=garbled)
        if answer is None and tries < TRIES:
            self._put(TRY_AGAIN, transaction, status, tries + 1)
            return
        word = "garbage" if garbled else status.lower()
        with self.state.lock:
            transaction.callbacks.append(word if answer and answer < 400 else f"{word} (refused)")
            self.state.version += 1
        transaction.called_back.set()


class Phones:
    def __init__(self, state: State, notifier: Notifier) -> None:
        self.state, self.notifier = state, notifier

    def ask(self, transaction: Transaction) -> None:
        """Show the payment prompt, unless the switch `phones` is `unreached`.

        The switches decide if and when the prompt is answered automatically or times out.
        """
        faults, later = self.state.faults.of_number(transaction.msisdn), self.state.later
        if faults.phones != "unreached":
            with self.state.lock:
                transaction.asking = True
                self.state.version += 1
        self.notifier.asked(transaction)
        if faults.phones in ANSWERS:
            answer = faults.phones
            later.put(faults.phones_after, lambda: self._answer(transaction, answer))
        elif faults.phones == "ask" and faults.phones_seconds:
            later.put(faults.phones_seconds, lambda: self.end(transaction, FAILED, "The request timed out"))

    def answer(self, sp_transaction_id: str, answer: str) -> str:
        """Answer the payment prompt of a payin with "pay" or "decline". Raises LookupError if the payin is unknown.

        Return the payin's new status, or "" if no prompt is open.
        """
        with self.state.lock:
            named = self.state.money.named(sp_transaction_id, "payin")
        if not named:
            raise LookupError(sp_transaction_id)
        asking = next((each for each in named if each.asking), None)
        return asking.status if asking and self._answer(asking, answer) else ""

    def _answer(self, transaction: Transaction, answer: str) -> bool:
        if answer == "decline":
            return self.end(transaction, FAILED, "The payer declined the request")
        if self.state.faults.of_number(transaction.msisdn).broke:
            return self.end(transaction, FAILED, "Insufficient funds")
        return self.end(transaction, SUCCESSFUL, "Transaction successful")

    def end(self, transaction: Transaction, status: str, message: str) -> bool:
        """Set the final status and send notifications. Return False if the transaction had already ended."""
        with self.state.lock:
            if transaction.status != PENDING:
                return False
            transaction.end(status, message)
            self.state.version += 1
        self.notifier.ended(transaction)
        return True
