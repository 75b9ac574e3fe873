"""Phones that show a payment prompt. A tap or a switch answers the prompt, or the prompt times out.

A phone can also be out of reach; it then never shows the prompt.
"""

from playmatatu.sandbox.money.notifier import Notifier
from playmatatu.sandbox.money.state import State
from playmatatu.sandbox.money.transactions import FAILED, PENDING, SUCCESSFUL, Transaction

ANSWERS = ("pay", "decline")


class Phones:
    def __init__(self, state: State, notifier: Notifier) -> None:
        self.state, self.notifier = state, notifier

    def ask(self, transaction: Transaction) -> None:
        """Show the payment prompt. Schedule its automatic answer or its timeout according to the switches."""
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
        """Answer the payment prompt of a payin with `answer`: "pay" or "decline".

        Return the new status of the payin, or "" if no prompt is open. Raises LookupError if the payin is unknown.
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
        """Set the final status and notify. Return False if the transaction had ended already, as after two taps."""
        with self.state.lock:
            if transaction.status != PENDING:
                return False
            transaction.end(status, message)
            self.state.version += 1
        self.notifier.ended(transaction)
        return True
