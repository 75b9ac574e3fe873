"""The phones that are asked for money: tapped by a hand, answering by themselves, giving up, or never reached."""

from sms.sandbox.callbacks import Callbacks
from sms.sandbox.money import FAILED, PENDING, SUCCESSFUL, Transaction, end
from sms.sandbox.state import State

ANSWERS = ("pay", "decline")


class Phones:
    def __init__(self, state: State, callbacks: Callbacks) -> None:
        self.state, self.callbacks = state, callbacks

    def ask(self, transaction: Transaction) -> None:
        faults, later = self.state.faults, self.state.later
        if faults.phones != "unreached":
            with self.state.lock:
                transaction.asking = True
                self.state.version += 1
        self.callbacks.asked(transaction)
        if faults.phones in ANSWERS:
            answer = faults.phones
            later.put(faults.phones_after, lambda: self._answer(transaction, answer))
        elif faults.phones == "ask" and faults.phones_seconds:
            later.put(faults.phones_seconds, lambda: self.end(transaction, FAILED, "The request timed out"))

    def answer(self, sp_transaction_id: str, answer: str) -> str:
        """The end of it, or "" where that phone asks nothing. Raises LookupError for an unknown one."""
        with self.state.lock:
            named = self.state.money.named(sp_transaction_id, "payin")
        if not named:
            raise LookupError(sp_transaction_id)
        asking = next((each for each in named if each.asking), None)
        return asking.status if asking and self._answer(asking, answer) else ""

    def _answer(self, transaction: Transaction, answer: str) -> bool:
        if answer == "decline":
            return self.end(transaction, FAILED, "The payer declined the request")
        if self.state.faults.broke:
            return self.end(transaction, FAILED, "Insufficient funds")
        return self.end(transaction, SUCCESSFUL, "Transaction successful")

    def end(self, transaction: Transaction, status: str, message: str) -> bool:
        """False where it has an end already: two taps, or a tap as the phone gives up."""
        with self.state.lock:
            if transaction.status != PENDING:
                return False
            end(transaction, status, message)
            self.state.version += 1
        self.callbacks.ended(transaction)
        return True
