"""The sandbox's web page with payments: each simulated phone also shows its payments and payment prompts."""

from pathlib import Path
from typing import ClassVar, NamedTuple

from playmatatu.sandbox.money.faults import PANEL
from playmatatu.sandbox.money.transactions import FAILED, NETWORKS, PENDING, Network, State, Transaction
from sms.sandbox import page
from sms.sandbox.page import Item, Part
from sms.sandbox.switches import Panel


class Prompt(NamedTuple):
    sp_transaction_id: str
    amount: str
    description: str
    network: Network


class Page(page.Page):
    folders: ClassVar[list[Path]] = [Path(__file__).parent, *page.Page.folders]
    template: ClassVar[str] = "money.html"
    panel: ClassVar[Panel] = PANEL
    state: State

    def items(self) -> list[tuple[str, Item]]:
        ended = [each for each in self._transactions() if each.status != PENDING]
        return [*super().items(), *((each.msisdn, _moved(each)) for each in ended)]

    def prompts(self) -> list[tuple[str, str, Prompt]]:
        asking = [each for each in self._transactions() if each.asking]
        return [(each.msisdn, each.asked_at, _prompt(each)) for each in asking]

    def _transactions(self) -> list[Transaction]:
        return list(self.state.money.transactions.values())


def _moved(transaction: Transaction) -> Item:
    amount = f"{_grouped(transaction.amount)} UGX"
    if transaction.status == FAILED:
        words = f"{amount} not {'paid' if transaction.kind == 'payin' else 'received'}: {transaction.message}"
    else:
        words = f"You paid {amount}" if transaction.kind == "payin" else f"You received {amount}"
    note = f"notified: {', '.join(transaction.callbacks)}" if transaction.callbacks else ""
    return Item(transaction.ended_at, transaction.transaction_id, [Part(words, link=False)], note, money=True)


def _prompt(transaction: Transaction) -> Prompt:
    amount = _grouped(transaction.amount)
    return Prompt(transaction.sp_transaction_id, amount, transaction.description, NETWORKS[transaction.payment_method])


def _grouped(amount: str) -> str:
    """Return the amount with commas: `5000.00` becomes `5,000`. Two decimals are kept if they are not zero."""
    number = float(amount)
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"
