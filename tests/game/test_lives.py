"""Random lives of stakes: after any sequence of events, all received money is in exactly one place."""

import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from game import maintenance
from game.models import Entry
from game.rules.ending import cancel
from game.rules.placing import Stake, place
from game.rules.validation import Refused
from payments import journal, ledger, refunds
from payments.models import Payment
from payments.rules.states import Account
from sms.models import SmsMessage
from tests.payments.helpers import end_contest, record_by_hand, settle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

AMOUNTS = (1000, 2000, 5000)
COMMISSION = 150
PAID, FAILED = Payment.Status.SUCCESS, Payment.Status.FAILED


@dataclass
class Money:
    """The actions of provider and operator that the test has chosen. They are independent of the service's data."""

    amount: int
    came: bool = False
    taken_back: bool = False
    given_back: bool = False


class Crash(Exception):
    """The process crashes here."""


class World:
    def __init__(self, seed: int, monkeypatch: Any) -> None:
        self.dice, self.monkeypatch = random.Random(seed), monkeypatch
        self.money: dict[int, Money] = {}
        self.acts: Counter[str] = Counter()
        self.codes: list[str] = []

    def live(self, lives: int) -> None:
        placed = 0
        while placed < lives:
            act = self.dice.choice(
                (*[self.stake] * 3, *[self.pay] * 4, self.decline, self.cancel, self.expire, self.tidy, self.rest)
            )
            if act():
                self.acts[act.__name__] += 1
                placed += act == self.stake

    # --- what can happen

    def stake(self) -> bool:
        phone = f"+25678{self.dice.randrange(60):07}"
        code = self.dice.choice(self.codes) if self.codes and self.dice.random() < 0.3 else ""
        private = not code and self.dice.random() < 0.3
        amount = self.dice.choice(AMOUNTS)
        if code:
            amount = Entry.objects.get(match_code=code).stake_amount
        try:
            entry = place(Stake(phone, amount, create_private=private, match_code=code)).entry
        except Refused:
            return False
        self.money[entry.payment_id] = Money(amount + COMMISSION)
        if entry.match_code:
            self.codes = [*self.codes[-5:], entry.match_code]
        return True

    def pay(self) -> bool:
        """The payer pays.

        The callback may be repeated, may crash the process, or may reach a process with a failing receiver.
        """
        payment = self._payment()
        if payment is None or self.money[payment].came:
            return False
        self.money[payment].came = True
        fate = self.dice.random()
        if fate < 0.15:
            self.acts["crash"] += 1
            with suppress(Crash), transaction.atomic():
                settle(payment, PAID, by="callback")
                raise Crash
        elif fate < 0.3:
            self.acts["broken receiver"] += 1
            with self.monkeypatch.context() as patch:
                patch.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
                settle(payment, PAID, by="callback")
            if self.dice.random() < 0.5:
                return True  # The provider does not repeat the callback, so a periodic task must find the payment.
        for _ in range(self.dice.randint(1, 2)):
            settle(payment, PAID, by="callback")
        return True

    def decline(self) -> bool:
        """The provider reports a failure. This is usually true, but the money may have come or may come later."""
        payment = self._payment()
        if payment is None:
            return False
        money = self.money[payment]
        if money.came and (money.given_back or self.dice.random() < 0.8):
            return False
        settle(payment, FAILED, by="callback")
        if money.came:
            money.taken_back = True
            if self.dice.random() < 0.3:
                # An operator finds that the money was here all the time.
                assert end_contest(payment)
                money.taken_back = False
        return True

    def cancel(self) -> bool:
        entry = self._entry()
        return entry is not None and cancel(entry)

    def expire(self) -> bool:
        entry = self._entry()
        if entry is None or entry.expires_at is None:
            return False
        Entry.objects.filter(pk=entry.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        return True

    def tidy(self) -> bool:
        """The periodic tasks run."""
        assert [chore.run().failed for chore in maintenance.TASKS] == [0] * len(maintenance.TASKS)
        return True

    def rest(self) -> bool:
        """An operator records manual refunds for some of the payments that are refund due."""
        due = list(refunds.due().values_list("pk", flat=True))
        chosen = Payment.objects.filter(pk__in=self.dice.sample(due, len(due) // 2))
        for refund in record_by_hand(chosen, "operator", "by hand"):
            assert not self.money[refund.payment_id].given_back
            self.money[refund.payment_id].given_back = True
        return bool(due)

    def _payment(self) -> int | None:
        newest = list(self.money)[-40:]
        return self.dice.choice(newest) if newest else None

    def _entry(self) -> Entry | None:
        live = Entry.objects.filter(status__in=("queued", "awaiting_payment")).select_related("player").order_by("pk")
        return self.dice.choice(list(live)) if live else None

    # --- what must be true, whenever one looks

    def check_ledger(self) -> dict[Account, int]:
        """The money that the ledger shows as received equals the money that the provider took."""
        came = [money.amount for money in self.money.values() if money.came]
        assert ledger.day(timezone.localdate())["in"] == (sum(came), len(came))
        return ledger.balances()


@pytest.fixture(autouse=True)
def _all_is_allowed(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, COMMISSION
    settings.UNPAID_STAKES_PER_PHONE_HOUR = settings.UNPAID_STAKES_PER_ADDRESS_HOUR = 10**6
    settings.FAILED_TEXTS_PER_PHONE_DAY = settings.WRONG_CODES_PER_ADDRESS = 10**6


# LIVES=2000 makes a longer test of a quarter of an hour.
LIVES = int(os.environ.get("LIVES", "250"))
MANY = [
    pytest.mark.skipif(bool(os.environ.get("TEST_DATABASE_URL")), reason="once is enough; these take minutes"),
]


@pytest.mark.parametrize(("lives", "seed"), [(100, 1), pytest.param(LIVES, 2, marks=MANY)], ids=["some", "many"])
def test_every_shilling_is_in_one_place(monkeypatch: Any, lives: int, seed: int) -> None:
    world = World(seed, monkeypatch)
    for _ in range(4):
        world.live(lives // 4)
        world.check_ledger()
    # All entries expire, and all repeated callbacks have arrived.
    Entry.objects.filter(status="queued").update(expires_at=timezone.now() - timedelta(seconds=1))
    world.tidy()
    # Entries that the tasks have just activated expire too.
    Entry.objects.filter(status="queued").update(expires_at=timezone.now() - timedelta(seconds=1))
    world.tidy()
    balances = world.check_ledger()
    assert [balances[account] for account in (Account.RECEIVED, Account.WAITING, Account.REFUND_TRANSIT)] == [0] * 3
    balance_of = journal.balances_of_all(world.money)
    matched = set(Entry.objects.exclude(session=None).values_list("payment_id", flat=True))
    texts = Counter(SmsMessage.objects.values_list("dedupe_key", flat=True))
    for payment, money in world.money.items():
        expected = None
        if money.came and not money.given_back:
            place = Account.IN_MATCH if payment in matched else Account.REFUND_DUE
            expected = Account.CONTESTED if money.taken_back else place
        assert balance_of[payment] == ({expected: money.amount} if expected else {}), (payment, money)
        assert texts[f"payment:{payment}:refunded"] == money.given_back
        if expected is Account.REFUND_DUE:
            told = [texts[f"payment:{payment}:{word}"] for word in ("refund_due", "held")]
            held = SmsMessage.objects.filter(dedupe_key=f"payment:{payment}:success", kind="payment_held").count()
            assert sum(told) + held == 1, (payment, told, held)
    # Every kind of event has happened.
    wanted = {"stake", "pay", "decline", "cancel", "expire", "tidy", "rest", "crash", "broken receiver"}
    assert {act for act, times in world.acts.items() if times} == wanted
    assert min(len(matched), balances[Account.REFUND_DUE], balances[Account.CONTESTED]) > 0
    assert Payment.objects.filter(place="refunded").exists()
