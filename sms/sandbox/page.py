"""The phones as a page: side by side, one a number, and the switches. Works without its script, by reload."""

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from django.template import Context, Engine

from sms.sandbox import switches
from sms.sandbox.money import FAILED, PENDING, Transaction
from sms.sandbox.state import Received, State

_HERE = Path(__file__).parent
_ENGINE = Engine(dirs=[str(_HERE)])
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_LINK = re.compile(r"https?://[^\s<>\"]+")
# So many phones and items a phone are shown; /inbox.json has every text.
MOST_PHONES, MOST_ITEMS = 24, 50


class Part(NamedTuple):
    """A piece of a text; `link`: it is an address."""

    words: str
    link: bool


class Item(NamedTuple):
    """A text, or money that moved (`money`); `note` says what the provider told of it."""

    at: str
    key: str
    parts: list[Part]
    note: str
    money: bool = False

    @property
    def clock(self) -> str:
        return datetime.fromisoformat(self.at).astimezone(timezone.utc).strftime("%H:%M:%S")


class Prompt(NamedTuple):
    """What a phone asks: for how much, by which network."""

    sp_transaction_id: str
    amount: str
    description: str
    network: str


class Phone(NamedTuple):
    number: str
    items: list[Item]
    prompts: list[Prompt]


def inbox(state: State) -> str:
    """The whole page."""
    with state.lock:
        phones = _phones(state)
        faults, version = state.faults, state.version
        lost = sum(message.hidden for message in state.messages)
    newest = sorted(phones, key=lambda phone: (bool(phone.prompts), phone.items[-1].at if phone.items else ""))
    chosen = {phone.number for phone in newest[-MOST_PHONES:]}
    return _ENGINE.get_template("page.html").render(
        Context(
            {
                # A phone keeps its place while texts come.
                "phones": [phone for phone in phones if phone.number in chosen],
                "more": len(phones) - len(chosen),
                "asking": sum(bool(phone.prompts) for phone in phones),
                "lost": lost,
                "version": version,
                "groups": switches.buttons(faults),
                "changed": "; ".join(switches.changed(faults)),
                "controls": switches.controls(faults),
            }
        )
    )


def part(path: str) -> tuple[bytes, str]:
    """The page's style or script, and its type."""
    file = _HERE / path.removeprefix("/")
    return file.read_bytes(), _TYPES[file.suffix]


def _phones(state: State) -> list[Phone]:
    """In the order in which each was first heard of."""
    first: dict[str, str] = {}
    items: dict[str, list[Item]] = {}
    prompts: dict[str, list[Prompt]] = {}
    for message in state.messages:
        if not message.hidden:
            number = _national(message.to)
            first.setdefault(number, message.received_at)
            items.setdefault(number, []).append(_text(message))
    for transaction in state.money.transactions.values():
        number = _national(transaction.msisdn)
        if transaction.asking:
            prompts.setdefault(number, []).append(_prompt(transaction))
        elif transaction.status != PENDING:
            items.setdefault(number, []).append(_moved(transaction))
        else:
            continue
        first[number] = min(first.get(number, transaction.asked_at), transaction.asked_at)
    return [
        Phone(_spaced(number), sorted(items.get(number, []))[-MOST_ITEMS:], prompts.get(number, []))
        for number in sorted(first, key=lambda number: first[number])
    ]


def _text(message: Received) -> Item:
    note = "no report yet" if message.dlr_url else "no report wanted"
    if message.reports:
        note = f"reported: {', '.join(message.reports)}"
    return Item(message.received_at, f"m{message.msg_id}", _linked(message.text), note)


def _moved(transaction: Transaction) -> Item:
    amount = f"{_grouped(transaction.amount)} UGX"
    if transaction.status == FAILED:
        words = f"{amount} not {'paid' if transaction.kind == 'payin' else 'received'}: {transaction.message}"
    else:
        words = f"You paid {amount}" if transaction.kind == "payin" else f"You received {amount}"
    note = f"called back: {', '.join(transaction.callbacks)}" if transaction.callbacks else ""
    return Item(transaction.ended_at, transaction.transaction_id, [Part(words, link=False)], note, money=True)


def _prompt(transaction: Transaction) -> Prompt:
    network = "Airtel Money" if transaction.payment_method.startswith("airtel") else "MTN MoMo"
    amount = _grouped(transaction.amount)
    return Prompt(transaction.sp_transaction_id, amount, transaction.description, network)


def _grouped(amount: str) -> str:
    """`5000.00` as `5,000`."""
    number = float(amount)
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


def _national(number: str) -> str:
    """One phone, however its number came."""
    return "0" + number[-9:] if re.fullmatch(r"\+?256\d{9}", number) else number


def _spaced(number: str) -> str:
    """`0772123456` as `0772 123 456`, as people write it."""
    return f"{number[:4]} {number[4:7]} {number[7:]}" if number.isdigit() and len(number) == 10 else number


def _linked(text: str) -> list[Part]:
    parts, last = [], 0
    for link in _LINK.finditer(text):
        # A full stop behind a link is the sentence's.
        found = link[0].rstrip(".,;:!?)")
        parts += [Part(text[last : link.start()], link=False), Part(found, link=True)]
        last = link.start() + len(found)
    return [*parts, Part(text[last:], link=False)]
