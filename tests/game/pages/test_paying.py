"""Payment on the waiting page with the sandbox's phones: request, clock, no answer, declined, paid."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry
from game.pages import waiting
from game.pages.waiting import why_not_paid
from payments import status_polling as asking
from payments.models import Payment
from payments.providers.declines import Decline
from tests.game.pages.helpers import cancel, own, shown
from tests.game_helpers import ALICE, age
from tests.payments.helpers import order_payouts
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phones(collection: Sandbox) -> Sandbox:
    """Phones that show payment prompts. Notifications are off, so each test polls itself."""
    collection.faults(callback="never")
    return collection


def fill_in(client: Client, phone: str = ALICE, **fields: str) -> Payment:
    body = {"phone_number": phone, "stake_amount": "5000", "opponent": "anyone", "display_name": "Alice"}
    assert client.post("/", body | fields).status_code == 302
    return Payment.objects.latest("pk")


def later(payment: Payment, **span: float) -> None:
    """Move the payment request into the past."""
    Payment.objects.filter(pk=payment.pk).update(asked_at=timezone.now() - timedelta(**span))


def tap(phones: Sandbox, payment: Payment, answer: str) -> None:
    """Answer the payment prompt on the phone, then poll as the worker would."""
    phones.tap(payment.transaction_id, answer)
    Payment.objects.filter(pk=payment.pk).update(next_ask_at=timezone.now(), last_ask_at=None)
    asking.poll_due()


@pytest.mark.parametrize("phone", ["0712000101", "0702000101"])
def test_a_network_from_which_nobody_collects(client: Client, phones: Sandbox, settings: Any, phone: str) -> None:
    """The first number belongs to a network of NETWORK_PREFIXES, the second to none. DMarkPay serves neither."""
    settings.NETWORK_PREFIXES = {"MTN": ["077"], "Airtel": ["075"], "Lyca": ["071"]}
    body = {"phone_number": phone, "stake_amount": "5000", "opponent": "anyone", "display_name": "Alice"}
    answer = client.post("/", body)
    assert answer.status_code == 400
    sentence = "We can only collect from these networks: Airtel, MTN. Enter a number of one of them."
    assert sentence in answer.content.decode()
    assert not Entry.objects.exists()


@pytest.mark.parametrize(("phone", "network"), [("0772000001", "MTN"), ("0752000001", "Airtel")])
def test_the_phone_rings(client: Client, phones: Sandbox, settings: Any, phone: str, network: str) -> None:
    settings.COMMISSION_FLAT = 500
    payment = fill_in(client, phone)
    [prompt] = phones.prompts()
    assert prompt["sp_transaction_id"] == payment.transaction_id
    text = shown(client)
    for words in (
        "<h1>Confirm 5,500 UGX on your phone</h1>",
        f"{network} is asking {phone[:4]} {phone[4:7]} {phone[7:]} to approve this",
        "Enter your mobile-money PIN only on your phone, never on a website.",
        "No request on your phone?",
        "We won't send a second request before then",
        '<noscript><meta http-equiv="refresh" content="5"></noscript>',
    ):
        assert words in text, words
    # While the prompt may be open, no button on the page sends a second request.
    assert '/retry"' not in text
    [ends] = re.findall(r'data-ends="(\d+)">3 minutes<', text)
    payment.refresh_from_db()
    assert payment.asked_at
    assert int(ends) == int((payment.asked_at + timedelta(minutes=3)).timestamp() * 1000)
    assert "Confirm 5,500 UGX" in shown(client, **{"X-Part": "1"})


def test_nobody_is_asked_twice_at_once(client: Client, phones: Sandbox) -> None:
    """Until the first request has a final status, no page accepts a second stake."""
    payment = fill_in(client)
    for browser in (client, Client()):
        again = browser.post("/", {"phone_number": ALICE, "stake_amount": "5000", "opponent": "anyone"})
        assert again.status_code == 409
        assert "Your phone is still being asked to pay your last stake" in again.content.decode()
    assert [prompt["sp_transaction_id"] for prompt in phones.prompts()] == [payment.transaction_id]
    assert "Your open stake" in shown(client, "/")


def test_before_the_phone_is_asked(client: Client, phones: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    fill_in(client)
    text = shown(client)
    assert "Waiting for your payment" in text
    assert "MTN will ask 0772 000 001 to approve the payment in a moment." in text
    assert '/retry"' not in text
    assert phones.prompts() == []


def test_no_answer_leads_on_when_the_phone_cannot_ring_any_more(client: Client, phones: Sandbox) -> None:
    payment = fill_in(client)
    later(payment, seconds=179)
    assert '/retry"' not in shown(client)
    later(payment, seconds=181)
    text = shown(client)
    assert "MTN hasn't answered yet. You can try again." in text
    assert f'class="main" href="{own(client, "/retry")}"' in text
    assert 'value="0772 000 001"' in shown(client, own(client, "/retry"))


def test_an_ambiguous_request_says_so(client: Client, phones: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 0.3
    phones.faults(payin="taken_hang", hang_seconds=1)
    fill_in(client)
    text = shown(client)
    assert "We don't know yet if the request reached your phone." in text
    assert "MTN may be asking 0772 000 001 to approve this" in text
    assert "Confirm 5,000 UGX on your phone" in text


def test_no_answer_for_a_day_leads_to_support(client: Client, phones: Sandbox) -> None:
    payment = fill_in(client)
    Payment.objects.filter(pk=payment.pk).update(collection="unresolved")
    assert "MTN hasn't answered for a day." in shown(client)


def test_a_declined_request_is_tried_again(client: Client, phones: Sandbox) -> None:
    payment = fill_in(client, opponent="friend")
    tap(phones, payment, "decline")
    text = shown(client)
    assert "<h1>No money was taken</h1>" in text
    assert "The request was declined on your phone. You can try again." in text
    assert "Your payment failed" not in text
    assert "refresh" not in text
    assert f'href="{own(client, "/retry")}"' in text
    # The old payment has a final status, so the next request may be sent at once.
    again = fill_in(client, opponent="friend")
    assert again.pk != payment.pk
    tap(phones, again, "pay")
    text = shown(client)
    assert "Waiting for your friend" in text
    assert "You paid 5,000 UGX from 0772 000 001. If nobody joins in time, you get it all back." in text


def test_cancelling_while_the_prompt_is_open(client: Client, phones: Sandbox) -> None:
    payment = fill_in(client)
    assert "Cancel this stake" in shown(client)
    cancel(client)
    text = shown(client)
    assert "You cancelled this stake." in text
    assert "A payment request may still be on your phone. Decline it there." in text
    # The page keeps polling, because the stake may be activated later.
    assert "refresh" in text
    assert "data-live" in text
    tap(phones, payment, "pay")
    assert "Searching for an opponent" in shown(client)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Insufficient funds", "There was not enough money in your account."),
        ("LOW_BALANCE_OR_PAYEE_LIMIT_REACHED", "not enough money in your account, or its limit is reached."),
        ("Shopping blocked", "This number has no mobile-money account that can pay."),
        ("Payer declined", "The request was declined on your phone."),
        ("Transaction cancelled by user", "The request was declined on your phone."),
        ("Wrong PIN entered", "The PIN was wrong."),
        ("Transaction timed out", "The request was not approved in time."),
        ("Request expired", "The request was not approved in time."),
        ("Daily limit exceeded", "The amount is over your account's limit."),
        ("Subscriber not registered", "This number has no mobile-money account that can pay."),
        ("Error <7>.", "MTN says: “Error <7>”."),
    ],
)
def test_the_provider_s_reason_in_plain_words(client: Client, phones: Sandbox, said: str, words: str) -> None:
    payment = fill_in(client)
    tap(phones, payment, "decline")
    Payment.objects.filter(pk=payment.pk).update(reason=said)
    assert words in shown(client)


def test_each_reason_of_a_failed_payment_has_a_sentence() -> None:
    assert set(waiting._DECLINES) == set(Decline)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"asked_at": None, "reason": "NewConnectionError"},
            "We could not reach MTN.",
        ),
        ({"settled_by": "operator", "reason": "Looked up: Jane, 2 pm"}, ""),
        ({"reason": ""}, ""),
        ({"collection": "", "reason": "declined"}, ""),
        ({"status": "SUCCESS", "reason": "declined"}, ""),
    ],
)
def test_a_reason_that_is_not_the_provider_s_is_not_shown(fields: dict[str, Any], words: str) -> None:
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


def test_nothing_is_promised_if_a_third_party_collects(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill_in(client)
    text = shown(client)
    assert "Confirm the payment of 5,000 UGX on your phone." in text
    assert "is asking" not in text
    assert "data-ends" not in text
    cancel(client)
    assert "may still be on your phone" not in shown(client)
    assert Entry.objects.get().status == "expired"


# --- where the money is after a stake without a match


def test_money_that_goes_back(client: Client, phones: Sandbox, settings: Any) -> None:
    """The money is due for refund from the expiry on, then refunded. Pages show amount and number."""
    settings.COMMISSION_FLAT = 500
    payment = fill_in(client)
    tap(phones, payment, "pay")
    assert "back</h1>" not in shown(client)
    age()
    text = shown(client)
    for words in (
        "Nobody joined in time.",
        "We will refund 5,500 UGX to 0772 000 001.",
        "Check my refund",
        "<h1>You are getting 5,500 UGX back</h1>",
        "data-live",
    ):
        assert words in text
    assert "You are getting 5,500 UGX back." in shown(client, "/")
    assert "Your last stake" in shown(client, "/")
    found = Client()
    found.post("/link", {"phone_number": ALICE})
    link = next(item["text"] for item in phones.inbox() if item["text"].startswith("Your PlayMatatu stake")).split()[-1]
    assert "We will refund 5,500 UGX to 0772 000 001" in str(
        found.get(link.removeprefix(settings.SITE_URL), follow=True).content.decode()
    )

    assert order_payouts(Payment.objects.all(), "olive")
    payment.refresh_from_db()
    assert payment.refunded_at
    text = shown(client)
    assert "We sent 5,500 UGX back to 0772 000 001." in text
    assert "<h1>You got 5,500 UGX back</h1>" in text
    assert "Check my refund" not in text
    assert "data-live" not in text
    assert "Your last stake" not in shown(client, "/")
    Client().post("/link", {"phone_number": ALICE})
    assert sum(item["text"].startswith("Your PlayMatatu stake") for item in phones.inbox()) == 1


def test_money_after_cancelling(client: Client, phones: Sandbox) -> None:
    tap(phones, fill_in(client), "pay")
    cancel(client)
    text = shown(client)
    assert "You cancelled this stake." in text
    assert "We will refund 5,000 UGX to 0772 000 001." in text
