"""The state of a sandbox that also handles payments: transactions and payment prompts, in addition to SMS."""

from typing import Any, ClassVar

from playmatatu.sandbox.money.faults import Faults
from playmatatu.sandbox.money.transactions import Transactions
from sms.sandbox import state


class State(state.State):
    faults_class: ClassVar[type[Faults]] = Faults
    faults: Faults

    def empty(self) -> None:
        super().empty()
        self.money = Transactions()

    def _counts(self) -> dict[str, Any]:
        return {**super()._counts(), "money": self.money.counts()}
