"""Players who act at the same moment, with real threads, on SQLite and PostgreSQL."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from game.models import Entry, Player, Session
from game.rules.ending import cancel, expire_old
from payments import collection as collecting
from payments import refunds
from payments.models import Payment
from sms.models import SmsMessage
from tests.conftest import Sandbox, wait_for
from tests.crowd import together
from tests.game_helpers import ALICE, BOB, CAROL, paid, post, stake

pytestmark = pytest.mark.django_db(transaction=True)


def staking(phone: str, amount: int = 1000, **more: Any) -> Callable[[], Any]:
    return lambda: post(Client(), phone_number=phone, stake_amount=amount, **more)


@pytest.mark.parametrize("round_", range(2))
def test_twenty_players_make_ten_sessions(sandbox: Sandbox, round_: int) -> None:
    answers = together(*(staking(f"07720010{number:02}") for number in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert Session.objects.count() == 10
    assert Entry.objects.filter(status="queued").count() == 0
    assert SmsMessage.objects.filter(kind="match_found", status="sent").count() == 20
    assert len({item["to"] for item in sandbox.inbox()}) == len(sandbox.inbox()) == 20
    assert Counter(Entry.objects.values_list("session", flat=True)).most_common(1)[0][1] == 2


def test_two_equal_stakes_never_both_wait() -> None:
    for number in range(8):
        amount = 1000 + number
        together(staking(ALICE, amount), staking(BOB, amount))
        assert Entry.objects.filter(stake_amount=amount, status="queued").count() == 0


def test_one_joiner_wins_the_code() -> None:
    for number in range(4):
        amount = 1000 + number
        code = stake(Client(), ALICE, amount, create_private=True)["match_code"]
        answers = together(staking(BOB, amount, match_code=code), staking(CAROL, amount, match_code=code))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        loser = BOB if answers[0].status_code == 409 else CAROL
        assert not Entry.objects.filter(player__phone=f"+256{loser[1:]}", stake_amount=amount).exists()


@pytest.mark.parametrize("known", [False, True])
def test_two_stakes_of_one_phone_open_one(known: bool) -> None:
    if known:
        Player.objects.create(phone="+256772000001")
    answers = together(*(staking(ALICE, 1000 + number) for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert Entry.objects.count() == 1


def test_thirty_identical_callbacks_make_one_text(sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(Client(), ALICE)
    together(*(lambda: paid(Client(), placed, ALICE) for _ in range(30)))
    assert SmsMessage.objects.count() == 1
    assert len(sandbox.inbox()) == 1


def test_payments_that_arrive_together_are_all_matched(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    phones = [f"07720020{number:02}" for number in range(10)]
    placed = [stake(Client(), phone) for phone in phones]
    together(
        *(
            lambda answer=answer, phone=phone: paid(Client(), answer, phone)
            for answer, phone in zip(placed, phones, strict=True)
        )
    )
    assert Session.objects.count() == 5
    assert SmsMessage.objects.filter(text__contains="Play here").count() == 10


@pytest.mark.parametrize("round_", range(3))
def test_two_joiners_who_pay_at_once(settings: Any, round_: int) -> None:
    """One joins the friend. The other waits in the public queue and gets the usual message. No money is lost."""
    settings.MOMO_AUTO_APPROVE = False
    creator = stake(Client(), ALICE, create_private=True)
    paid(Client(), creator, ALICE)
    code = Entry.objects.get().match_code
    joiners = [(phone, stake(Client(), phone, match_code=code)) for phone in (BOB, CAROL)]
    together(*(partial(paid, Client(), placed, phone) for phone, placed in joiners))
    assert sorted(Entry.objects.values_list("status", flat=True)) == ["matched", "matched", "queued"]
    texts = SmsMessage.objects.filter(kind="payment_success").exclude(phone="+256772000001")
    assert sorted("Searching" in text for text in texts.values_list("text", flat=True)) == [False, True]


@pytest.mark.parametrize("round_", range(3))
def test_two_payments_of_one_player_at_once(settings: Any, round_: int) -> None:
    """One entry is activated. The other payment is due for refund, and its payer gets a message about it."""
    settings.MOMO_AUTO_APPROVE = False
    old, new = stake(Client(), ALICE), stake(Client(), ALICE, 2000)
    together(*(partial(paid, Client(), placed, ALICE) for placed in (old, new, old, new)))
    assert Payment.objects.filter(refund_due=True).count() == 1
    assert sorted(Entry.objects.values_list("status", flat=True)) == ["expired", "queued"]
    assert sorted(SmsMessage.objects.values_list("kind", flat=True)) == ["payment_held", "payment_success"]


def test_a_success_and_a_failure_at_once(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    for number in range(4):
        phone = f"07720030{number:02}"
        placed = stake(Client(), phone, 1000 + number)
        said = [partial(paid, Client(), placed, phone, word) for word in ("SUCCESS", "FAILED") * 3]
        together(*said)
        payment = Payment.objects.get(transaction_id=placed["transaction_id"])
        entry = Entry.objects.get(pk=placed["queue_id"])
        assert (payment.status, entry.status) in {("SUCCESS", "expired"), ("FAILED", "expired")}
        # The first status stays. The other one contradicts it, and money that came late is due for refund.
        assert payment.contested
        kinds = {"SUCCESS": ["payment_success"], "FAILED": ["payment_failed", "payment_held"]}[payment.status]
        texts = SmsMessage.objects.filter(phone=f"+256{phone[1:]}").order_by("pk")
        assert [row.kind for row in texts] == kinds
        assert refunds.due().filter(pk=payment.pk).exists() == (payment.place == "refund_due")


def test_an_order_that_a_worker_is_just_claiming_rings(collection: Sandbox, settings: Any) -> None:
    """A second stake waits until the worker has written its claim, and is then refused. There are never two prompts."""
    settings.SMS_DELIVERY = "worker"
    first = stake(Client(), ALICE)
    claimed = threading.Event()

    def claim() -> None:
        with transaction.atomic():
            assert len(collecting._claim(1)) == 1
            claimed.set()
            if connection.vendor == "postgresql":
                wait_for(_somebody_waits_for_a_lock, 20)

    def again() -> None:
        assert claimed.wait(20)
        assert post(Client(), phone_number=ALICE, stake_amount=2000).status_code == 409

    together(claim, again)
    assert Payment.objects.get().transaction_id == first["transaction_id"]


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_leaving_while_the_provider_repeats_itself(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    for number in range(5):
        placed = stake(Client(), ALICE, 1000 + number)
        paid(Client(), placed, ALICE)
        entry = Entry.objects.select_related("player").get(pk=placed["queue_id"])
        together(*(partial(paid, Client(), placed, ALICE) for _ in range(4)), partial(cancel, entry))
        assert refunds.due().filter(transaction_id=placed["transaction_id"]).exists()
        assert SmsMessage.objects.filter(kind="payment_success").count() == number + 1
        assert SmsMessage.objects.filter(kind="refund_due").count() == number + 1


def test_everything_at_once(settings: Any) -> None:
    """Everything at once: stakes, repeated payments, cancellations, periodic tasks.

    There is no deadlock and no lost money.
    """
    settings.MOMO_AUTO_APPROVE = False
    settings.QUEUE_EXPIRY_MINUTES = 0.002
    amounts = (1000, 2000)

    def player(number: int) -> Callable[[], None]:
        phone, client, dice = f"07720040{number:02}", Client(), random.Random(number)

        def play() -> None:
            for _ in range(6):
                answer = post(client, phone_number=phone, stake_amount=dice.choice(amounts))
                assert answer.status_code in (200, 409)
                if answer.status_code == 200:
                    for _ in range(dice.randint(0, 2)):
                        paid(client, answer.json(), phone)
                    if dice.random() < 0.3:
                        cancel(Entry.objects.select_related("player").get(pk=answer.json()["queue_id"]))
                time.sleep(dice.random() * 0.05)

        return play

    def clean_up() -> None:
        for _ in range(10):
            expire_old()
            time.sleep(0.02)

    together(*(player(number) for number in range(10)), clean_up, clean_up)
    time.sleep(0.15)
    expire_old()
    sessions = Session.objects.prefetch_related("entries")
    for session in sessions:
        first, second = session.entries.all()
        assert first.player_id != second.player_id
        assert first.stake_amount == second.stake_amount == session.stake_amount
    assert SmsMessage.objects.filter(text__contains="Play here").count() == 2 * len(sessions)
    # Every collected payment is in a match or due for refund.
    due = set(refunds.due().values_list("pk", flat=True))
    for payment in Payment.objects.filter(status="SUCCESS").select_related("entry"):
        assert (payment.entry.session_id is None) == (payment.pk in due)
    assert not Entry.objects.filter(status="queued").exists()
