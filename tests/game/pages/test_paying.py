"""What a player sees of the payment, with the sandbox's phones: the request, its clock, no answer, no, yes."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry
from game.pages.paying import why_not_paid
from payments import asking, refunding
from payments.models import Payment
from sms.testing import Sandbox
from tests.game_helpers import ALICE, age

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phones(collection: Sandbox) -> Sandbox:
    """Phones that ask; nobody calls us back, so each test asks by itself."""
    collection.faults(callback="never")
    return collection


def fill(client: Client, phone: str = ALICE, **fields: str) -> Payment:
    body = {"phone_number": phone, "stake_amount": "5000", "opponent": "anyone", "display_name": "Alice"}
    assert client.post("/", body | fields).status_code == 302
    return Payment.objects.latest("pk")


def page(client: Client, path: str = "/waiting", **headers: str) -> str:
    return str(client.get(path, headers=headers).content.decode())


def later(payment: Payment, **span: float) -> None:
    """The request for the money was so long ago."""
    Payment.objects.filter(pk=payment.pk).update(asked_at=timezone.now() - timedelta(**span))


def tap(phones: Sandbox, payment: Payment, answer: str) -> None:
    """The player's thumb on the phone; then we ask back, as the worker would."""
    phones.tap(payment.transaction_id, answer)
    Payment.objects.filter(pk=payment.pk).update(next_ask_at=timezone.now(), last_ask_at=None)
    asking.ask_due()


@pytest.mark.parametrize(("phone", "network"), [("0772000001", "MTN"), ("0752000001", "Airtel")])
def test_the_phone_rings(client: Client, phones: Sandbox, settings: Any, phone: str, network: str) -> None:
    settings.COMMISSION_FLAT = 500
    payment = fill(client, phone)
    [prompt] = phones.prompts()
    assert prompt["sp_transaction_id"] == payment.transaction_id
    text = page(client)
    for words in (
        "<h1>Confirm 5,500 UGX on your phone</h1>",
        f"{network} asks on {phone}",
        "Type your mobile-money PIN on the phone, never on a page.",
        "No request came?",
        "no second request is sent",
        '<noscript><meta http-equiv="refresh" content="5"></noscript>',
    ):
        assert words in text, words
    # As long as it may ring there is nothing to press that would ask once more.
    assert 'href="/waiting/retry"' not in text
    [ends] = re.findall(r'data-ends="(\d+)">3 minutes<', text)
    payment.refresh_from_db()
    assert payment.asked_at
    assert int(ends) == int((payment.asked_at + timedelta(minutes=3)).timestamp() * 1000)
    assert "Confirm 5,500 UGX" in page(client, **{"X-Part": "1"})


def test_nobody_is_asked_twice_at_once(client: Client, phones: Sandbox) -> None:
    """A second stake, from this page or any other, waits until the first request has an end."""
    payment = fill(client)
    for browser in (client, Client()):
        again = browser.post("/", {"phone_number": ALICE, "stake_amount": "5000", "opponent": "anyone"})
        assert again.status_code == 409
        assert "Your phone is still being asked to pay your last stake" in again.content.decode()
    assert [prompt["sp_transaction_id"] for prompt in phones.prompts()] == [payment.transaction_id]
    assert "Your open stake" in page(client, "/")


def test_before_the_phone_is_asked(client: Client, phones: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    fill(client)
    text = page(client)
    assert "Waiting for your payment" in text
    assert "MTN is about to ask on 0772000001." in text
    assert 'href="/waiting/retry"' not in text
    assert phones.prompts() == []


def test_no_answer_leads_on_when_the_phone_cannot_ring_any_more(client: Client, phones: Sandbox) -> None:
    payment = fill(client)
    later(payment, seconds=179)
    assert 'href="/waiting/retry"' not in page(client)
    later(payment, seconds=181)
    text = page(client)
    assert "No answer has come from MTN yet. You can try again now" in text
    assert 'class="main" href="/waiting/retry"' in text
    assert f'value="{ALICE}"' in page(client, "/waiting/retry")


def test_a_request_in_doubt_says_so(client: Client, phones: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 0.3
    phones.faults(payin="taken_hang", hang_seconds=1)
    fill(client)
    text = page(client)
    assert "We do not know yet whether the request has reached your phone." in text
    assert "Confirm 5,000 UGX on your phone" in text


def test_no_answer_for_a_day_is_support_s(client: Client, phones: Sandbox) -> None:
    payment = fill(client)
    Payment.objects.filter(pk=payment.pk).update(collection="unresolved")
    assert "MTN has given no answer for a day." in page(client)


def test_a_declined_request_is_tried_again(client: Client, phones: Sandbox) -> None:
    payment = fill(client, opponent="friend")
    tap(phones, payment, "decline")
    text = page(client)
    assert "Your payment failed" in text
    assert "The request was declined on the phone." in text
    assert "refresh" not in text
    assert 'href="/waiting/retry"' in text
    # The old order has its end, so the next one may go out at once.
    again = fill(client, opponent="friend")
    assert again.pk != payment.pk
    tap(phones, again, "pay")
    text = page(client)
    assert "Waiting for your friend" in text
    assert f"Paid: 5,000 UGX from {ALICE}." in text


def test_who_gives_up_while_the_phone_rings(client: Client, phones: Sandbox) -> None:
    payment = fill(client)
    assert "Give up this stake" in page(client)
    client.post("/waiting/leave")
    assert "A request for it may still be on your phone: decline it there." in page(client)
    tap(phones, payment, "pay")
    assert "Searching for an opponent" in page(client)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Insufficient funds", "There was not enough money on the account."),
        ("LOW_BALANCE_OR_PAYEE_LIMIT_REACHED", "not enough money on the account, or its limit is reached."),
        ("Shopping blocked", "This number has no mobile-money account that can pay."),
        ("Payer declined", "The request was declined on the phone."),
        ("Transaction cancelled by user", "The request was declined on the phone."),
        ("Wrong PIN entered", "The PIN was not right."),
        ("Transaction timed out", "Nobody answered it in time."),
        ("Request expired", "Nobody answered it in time."),
        ("Daily limit exceeded", "The account&#x27;s limit does not allow this amount."),
        ("Subscriber not registered", "This number has no mobile-money account that can pay."),
        ("Error <7>.", "MTN says: “Error &lt;7&gt;”"),
    ],
)
def test_the_provider_s_words_in_plain_ones(client: Client, phones: Sandbox, said: str, words: str) -> None:
    payment = fill(client)
    tap(phones, payment, "decline")
    Payment.objects.filter(pk=payment.pk).update(reason=said)
    assert words in page(client)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"asked_at": None, "reason": "NewConnectionError"},
            "MTN could not be reached, so you were asked for nothing.",
        ),
        ({"settled_by": "operator", "reason": "Looked up: Jane, 2 pm"}, ""),
        ({"reason": ""}, ""),
        ({"collection": "", "reason": "declined"}, ""),
        ({"status": "SUCCESS", "reason": "declined"}, ""),
    ],
)
def test_what_is_not_the_provider_s_word_is_not_told_as_such(fields: dict[str, Any], words: str) -> None:
    payment = Payment(
        phone="+256772000001",
        amount=1000,
        status="FAILED",
        collection="over",
        network="mtn",
        asked_at=timezone.now(),
        settled_by="asking",
    )
    for name, value in fields.items():
        setattr(payment, name, value)
    assert why_not_paid(payment) == words


def test_where_somebody_else_collects_nothing_is_promised(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client)
    text = page(client)
    assert "Confirm the payment of 5,000 UGX on your phone." in text
    assert "asks on" not in text
    assert "data-ends" not in text
    client.post("/waiting/leave")
    assert "may still be on your phone" not in page(client)
    assert Entry.objects.get().status == "expired"


# --- where the money is when nothing came of the stake


def test_money_that_goes_back(client: Client, phones: Sandbox, settings: Any) -> None:
    """Due from the moment its time ended; then sent back. With amount and number, found again from the start."""
    settings.COMMISSION_FLAT = 500
    payment = fill(client)
    tap(phones, payment, "pay")
    assert "will be refunded" not in page(client)
    age()
    text = page(client)
    for words in (
        "Nobody joined in time.",
        f"5,500 UGX will be refunded to {ALICE}.",
        "Look again whether",
        "<h1>Your money goes back to you</h1>",
    ):
        assert words in text
    assert "5,500 UGX will be refunded to you." in page(client, "/")
    assert "Your last stake" in page(client, "/")
    found = Client()
    found.post("/link", {"phone_number": ALICE})
    link = next(item["text"] for item in phones.inbox() if item["text"].startswith("Your PlayMatatu stake")).split()[-1]
    assert f"refunded to {ALICE}" in str(found.get(link.removeprefix(settings.SITE_URL), follow=True).content.decode())

    assert refunding.order_payouts(Payment.objects.all(), "olive")
    payment.refresh_from_db()
    assert payment.refunded_at
    text = page(client)
    assert f"5,500 UGX have been sent back to {ALICE}." in text
    assert "<h1>Your money is back</h1>" in text
    assert "Look again whether" not in text
    assert "Your last stake" not in page(client, "/")
    Client().post("/link", {"phone_number": ALICE})
    assert sum(item["text"].startswith("Your PlayMatatu stake") for item in phones.inbox()) == 1


def test_money_of_who_left(client: Client, phones: Sandbox) -> None:
    tap(phones, fill(client), "pay")
    client.post("/waiting/leave")
    text = page(client)
    assert "You left the queue." in text
    assert f"5,000 UGX will be refunded to {ALICE}." in text
