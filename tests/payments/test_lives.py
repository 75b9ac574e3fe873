"""Random lives of stakes: after any events in any order, all money is in exactly one place."""

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.test import Client

from game.models import Entry, Session
from game.rules.ending import announce_refunds, cancel, expire_old
from game.rules.placing import Stake, place
from game.rules.validation import Refused
from payments import collection as collecting
from payments import journal, ledger, reconciliation, refunds, services
from payments.models import Payment, Refund
from payments.rules.states import Account
from tests.payments.helpers import notice, order_payouts, record_by_hand, settle
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

AMOUNTS = (1000, 2000)
# The accounts that hold players' money.
HELD = set(Account) - {Account.PROVIDER, Account.ELSEWHERE, Account.LOST, Account.OPENING}
# Faults of payment requests. Most requests have none. Each fault leaves the money in another state.
PAYIN = ["ok"] * 6 + ["taken_reset", "taken_hang", "taken_500", "reset", "500", "400", "429", "taken_html"]
PAYOUT = ["ok"] * 4 + ["taken_reset", "reset", "500", "400", "429"]


class World:
    """Some phones, the sandbox that holds their money, and a clock that the test moves."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox, self.dice = sandbox, random.Random(seed)
        self.client = Client()
        self.phones = [f"+25677200{number:04}" for number in range(8)]
        self.crashed = 0

    def any_payment(self, **which: Any) -> Payment | None:
        keys = list(Payment.objects.filter(**which).order_by("-pk").values_list("pk", flat=True)[:12])
        return Payment.objects.get(pk=self.dice.choice(keys)) if keys else None

    # --- what may happen

    def stake(self) -> None:
        code = ""
        if self.dice.random() < 0.3:
            code = self.dice.choice([entry.match_code or "" for entry in Entry.objects.filter(status="queued")] or [""])
        amount = self.dice.choice(AMOUNTS)
        self.sandbox.faults(payin=self.dice.choice(PAYIN))
        private = not code and self.dice.random() < 0.2
        try:
            place(Stake(self.dice.choice(self.phones), amount, match_code=code, create_private=private))
        except Refused:
            return  # The phone shows a prompt, the player has an active stake, or the friend's stake is different.
        finally:
            self.sandbox.faults(payin="ok")

    def tap(self) -> None:
        prompts = self.sandbox.prompts()
        if prompts:
            prompt = self.dice.choice(prompts)
            self.sandbox.tap(prompt["sp_transaction_id"], self.dice.choice(["pay", "pay", "pay", "decline"]))

    def tell(self) -> None:
        """Send a notification, true or false, with DMarkPay's id, without it, or with a wrong id."""
        payment = self.any_payment()
        if payment is not None:
            notice(
                self.client,
                payment,
                transaction_id=self.dice.choice([self.their_id(payment), self.their_id(payment), "", "DPother"]),
                status=self.dice.choice(["Successful", "Failed", "Pending", "?"]),
            )

    def time(self) -> None:
        self.pass_time(self.dice.choice([3, 6, 30, 70, 200, 700, 3600]))

    def work(self) -> None:
        services.work_once()

    def expire(self) -> None:
        expire_old()
        announce_refunds()

    def cancel(self) -> None:
        entry = Entry.objects.filter(status__in=("queued", "awaiting_payment")).order_by("?").first()
        if entry is not None:
            cancel(entry)

    def crash(self) -> None:
        """A process claims a payment request and a payout, and crashes before or after it sends them."""
        orders, payouts = collecting._claim(1), refunds._claim(1)
        for payment in orders:
            self.crashed += 1
            if self.dice.random() < 0.5:
                collecting._ask(payment)
        for refund in payouts:
            self.crashed += 1
            if self.dice.random() < 0.5:
                refunds._ask(refund)

    def refund(self) -> None:
        payment = self.any_payment(collected_at__isnull=False)
        if payment is None:
            return
        rows = Payment.objects.filter(pk=payment.pk)
        self.sandbox.faults(payout=self.dice.choice(PAYOUT))
        if self.dice.random() < 0.8:
            order_payouts(rows, "an operator")
            order_payouts(rows, "another")
            services.work_once()  # This polls first and then pays out, so the fault lasts for both.
        else:
            record_by_hand(rows, "an operator", "cash")
        self.sandbox.faults(payout="ok")

    def reverse(self) -> None:
        """The provider reverses its answer."""
        payment = self.any_payment(collected_at__isnull=False)
        if payment is not None and self.dice.random() < 0.3:
            settle(payment.pk, Payment.Status.FAILED, by="callback")

    # --- the world itself

    def their_id(self, payment: Payment) -> str:
        found = self.sandbox.server.state.money.named(payment.transaction_id, "payin")
        return found[0].transaction_id if found else ""

    def pass_time(self, seconds: float) -> None:
        span = timedelta(seconds=seconds)
        stale = set(Payment.objects.filter(stale=True).values_list("pk", flat=True))
        for model, names in (
            (Payment, "created_at asked_at start_at next_ask_at last_ask_at settled_at collected_at contested_at"),
            (Refund, "ordered_at start_at"),
            (Entry, "created_at opened_at expires_at"),
            (Session, "created_at expires_at"),
        ):
            model.objects.update(**{name: F(name) - span for name in names.split()})
        # The update of `collected_at` looks like one by the previous release, which would cause an adoption.
        Payment.objects.exclude(pk__in=stale).update(stale=False)

    def settle_down(self) -> None:
        """Let everything come to its end: prompts are declined, notifications arrive, workers run."""
        for prompt in self.sandbox.prompts():
            self.sandbox.tap(prompt["sp_transaction_id"], "decline")
        for _ in range(3):
            self.pass_time(1200)
            while services.work_once():
                pass  # One call handles about a hundred payments.
            for payment in Payment.objects.filter(status="PENDING"):
                notice(self.client, payment, transaction_id=self.their_id(payment))
        # Stakes that were just activated expire too.
        self.pass_time(1200)
        call_command("expire_queue", stdout=StringIO())

    def check_ledger(self) -> None:
        """Check the ledger. This must hold at any time."""
        payments = {payment.pk: payment for payment in Payment.objects.all()}
        held = journal.balances_of_all(payments)
        assert [
            reconciliation.place_differs(journal.state_of(payment), held[key]) for key, payment in payments.items()
        ] == ([""] * len(payments))
        totals = Counter[Account]()
        for balances in held.values():
            totals.update(balances)
        assert dict(totals) == {account: ugx for account, ugx in ledger.balances().items() if ugx and account in HELD}
        # No money is both due for refund and in a match. The query for refunds due agrees with the ledger.
        due = {payment.pk for payment in refunds.due()}
        marked, ended = (set(part.values_list("pk", flat=True)) for part in refunds.due_in_parts())
        assert (marked | ended, marked & ended) == (due, set())
        assert marked == {key for key, balances in held.items() if Account.REFUND_DUE in balances}
        assert ended <= {key for key, balances in held.items() if Account.WAITING in balances}
        assert not Entry.objects.filter(payment__in=due).exclude(session=None).exists()
        assert (
            not Entry.objects.filter(payment__refunds__state="succeeded")
            .exclude(session=None)
            .filter(payment__contested=False, payment__refunds__how="payout")
            .exists()
        )

    def check_against_the_sandbox(self) -> None:
        """Check that our books agree with the sandbox after everything has come to its end."""
        transactions = list(self.sandbox.server.state.money.transactions.values())
        # No request that may have arrived was repeated, and none was forgotten.
        assert set(Counter(one.sp_transaction_id for one in transactions).values()) <= {1}
        assert not Payment.objects.filter(collection__in=("due", "asking")).exists()
        moved = {
            kind: {one.sp_transaction_id for one in transactions if (one.kind, one.status) == (kind, "Successful")}
            for kind in ("payin", "payout")
        }
        collected = Payment.objects.filter(collected_at__isnull=False)
        assert moved["payin"] == set(collected.values_list("transaction_id", flat=True))
        payouts = moved["payout"]
        states = dict(Refund.objects.filter(how="payout").values_list("reference", "state"))
        assert payouts <= set(states)
        for reference, state in states.items():
            if state == "succeeded":
                assert reference in payouts
            elif state == "failed":
                assert reference not in payouts
        balances = ledger.balances()
        assert (balances[Account.RECEIVED], balances[Account.WAITING]) == (0, 0)


@pytest.fixture
def quiet(collection: Sandbox, settings: Any) -> Sandbox:
    settings.DMARK_PAY_TIMEOUT = 0.3
    settings.UNPAID_STAKES_PER_PHONE_HOUR = settings.UNPAID_STAKES_PER_ADDRESS_HOUR = 10**6
    settings.SMS_SERVICE_PASSWORD = ""  # This test does not need messages.
    collection.faults(callback="never", hang_seconds=0.5, phones_seconds=10**6)
    return collection


MOVES: list[tuple[Callable[[World], None], int]] = [
    (World.stake, 8),
    (World.tap, 8),
    (World.tell, 5),
    (World.time, 4),
    (World.work, 4),
    (World.expire, 1),
    (World.cancel, 1),
    (World.crash, 1),
    (World.refund, 3),
    (World.reverse, 1),
]


def live(world: World, lives: int) -> None:
    """Make random moves until `lives` stakes were placed."""
    moves, weights = zip(*MOVES, strict=True)
    steps = 0
    while Payment.objects.count() < lives:
        world.dice.choices(moves, weights)[0](world)
        steps += 1
        if steps % 25 == 0:
            world.check_ledger()


@pytest.mark.parametrize(("seed", "delivery"), [(1, "inline"), (2, "worker")])
def test_every_shilling_is_in_one_place(quiet: Sandbox, settings: Any, seed: int, delivery: str) -> None:
    settings.SMS_DELIVERY = delivery
    world = World(quiet, seed)
    live(world, 60)
    world.settle_down()
    world.check_ledger()
    world.check_against_the_sandbox()


# LIVES=2000 makes a longer test of some minutes.
LIVES = int(os.environ.get("LIVES", "125"))


def test_many_lives(quiet: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    world = World(quiet, 7)
    live(world, LIVES)
    world.settle_down()
    world.check_ledger()
    world.check_against_the_sandbox()
    held = {account for account, ugx in ledger.balances().items() if ugx}
    assert {Account.IN_MATCH, Account.REFUND_DUE, Account.REFUND_TRANSIT, Account.CONTESTED} <= held
    assert Payment.objects.filter(place="refunded").exists()
    assert world.crashed
