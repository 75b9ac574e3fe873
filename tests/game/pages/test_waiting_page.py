"""The waiting page: what happens next, the invite's fate, the end, and a way on."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CAROL, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)


def fill(client: Client, **fields: str) -> Any:
    answer = client.post("/", {"phone_number": ALICE, "stake_amount": "1000", "opponent": "anyone"} | fields)
    assert answer.status_code == 302, answer.content
    return answer


def page(client: Client, path: str = "/waiting", **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return str(answer.content.decode())


def pay(word: str = "SUCCESS", phone: str = ALICE) -> None:
    entry = Entry.objects.latest("pk")
    paid(Client(), {"transaction_id": entry.payment.transaction_id, "stake_amount": entry.stake_amount}, phone, word)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("queued", "is being sent"),
        ("sending", "is being sent"),
        ("sent", "has been sent"),
        ("delivered", "has been delivered"),
        ("undelivered", "has not reached your friend&#x27;s phone: check the number, or share the code"),
        ("failed", "could not be sent: check the number, or share the code"),
        ("expired", "could not be sent in time: share the code"),
        ("rate_limited", "was texted a moment ago, so your invite was not sent: share the code"),
        ("disabled", "switched off at the moment, so your invite was not sent: share the code"),
    ],
)
def test_what_became_of_the_invite(client: Client, status: str, words: str) -> None:
    fill(client, opponent="friend", invite_phone="+256 772 000 002")
    SmsMessage.objects.update(status=status)
    text = page(client)
    assert words in text
    assert "0772000002" in text


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("INVITES_PER_INVITER_DAY", "as many invites as one player may send in a day; share the code yourself."),
        ("INVITES_PER_RECIPIENT_DAY", "as many invites as one may get in a day; share the code yourself."),
        ("INVITES_PER_ADDRESS_HOUR", "came from your network in the last hour; share the code yourself."),
    ],
)
def test_an_invite_over_a_limit_is_told_of(client: Client, settings: Any, limit: str, words: str) -> None:
    setattr(settings, limit, 0)
    fill(client, opponent="friend", invite_phone=BOB)
    for _ in range(2):  # told for as long as the page is open, not once
        assert words in page(client)
    assert SmsMessage.objects.count() == 0


def test_no_invite_no_word_of_one(client: Client) -> None:
    fill(client, opponent="friend")
    text = page(client)
    assert 'class="say invite' not in text
    assert (Entry.objects.get().match_code or "no code") in text
    assert "Project-Id-Version" not in text


def test_it_counts_down(client: Client, settings: Any) -> None:
    settings.QUEUE_EXPIRY_MINUTES = 7
    fill(client)
    text = page(client)
    clock = re.search(r'data-ends="(\d+)">(\d+) minutes<', text)
    assert clock
    entry = Entry.objects.get()
    assert entry.expires_at
    assert int(clock[1]) == int(entry.expires_at.timestamp() * 1000)
    assert clock[2] == "7"
    now = re.search(r'data-now="(\d+)"', text)
    assert now
    assert abs(int(now[1]) - timezone.now().timestamp() * 1000) < 60_000


def test_it_says_what_happens_next(client: Client, settings: Any) -> None:
    fill(client, stake_amount="2000")
    text = page(client)
    for words in ("Searching for an opponent", "somebody with the same stake", "by itself", "we text you", "4,000 UGX"):
        assert words in text
    client.post("/waiting/leave")
    fill(client, opponent="friend")
    text = page(client)
    assert "Your friend follows the link" in text
    assert f"/?match_code={Entry.objects.latest('pk').match_code}" in text
    assert 'id="share"' in text


def test_it_moves_on_without_a_script_until_it_is_over(client: Client) -> None:
    fill(client)
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page(client)
    part = page(client, **{"X-Part": "1"})
    assert "<html" not in part
    assert "data-live" in part
    client.post("/waiting/leave")
    assert "refresh" not in page(client)
    assert "data-live" not in page(client, **{"X-Part": "1"})


def test_leaving_is_one_tap(client: Client) -> None:
    fill(client)
    assert client.get("/waiting/leave").status_code == 405
    text = client.post("/waiting/leave", follow=True).content.decode()
    assert "You left the queue" in text
    assert stake(client, CAROL)["status"] == "queued"
    # Nobody to leave: no error either.
    assert Client().post("/waiting/leave").status_code == 302


def test_waiting_without_a_stake_leads_to_the_start(client: Client) -> None:
    for path in ("/waiting", "/waiting/retry"):
        assert client.get(path)["Location"] == "/"
        client.cookies["stake"] = "forged:x"


def test_another_took_the_friend_s_match(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    created = stake(Client(), BOB, create_private=True)
    paid(Client(), created, BOB)
    code = Entry.objects.get().match_code or ""
    fill(client, opponent="code", match_code=code)
    assert "If somebody else pays first" in page(client)
    quicker = stake(Client(), CAROL, match_code=code)
    paid(Client(), quicker, CAROL)
    entry = Entry.objects.get(player__phone="+256772000001")
    paid(Client(), {"transaction_id": entry.payment.transaction_id, "stake_amount": 1000}, ALICE)
    assert "Your friend's match was taken meanwhile" in page(client)


# --- payment by callback


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"opponent": "anyone"}, "we look for an opponent"),
        ({"opponent": "friend", "invite_phone": BOB}, "you get the code to share here"),
    ],
)
def test_payment_is_waited_for(client: Client, settings: Any, fields: dict[str, str], words: str) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client, **fields)
    text = page(client)
    assert "Waiting for your payment" in text
    assert "Confirm the payment of 1,000 UGX on your phone." in text
    assert words in text
    # Nobody may share a code that is not open yet.
    assert f"match_code={Entry.objects.get().match_code}" not in text
    pay()
    assert "Searching for an opponent" in page(client) or "Waiting for your friend" in page(client)


def test_a_failed_payment_is_tried_again_with_all_input_kept(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client, display_name='Al"ice', stake_amount="2500", opponent="friend", invite_phone="+256772000002")
    pay("FAILED")
    text = page(client)
    assert "Your payment failed" in text
    assert "Try again" in text
    assert 'href="/waiting/retry"' in text
    form = page(client, "/waiting/retry")
    fields = dict(re.findall(r'<input[^>]*name="(\w+)" value="([^"]*)"', form))
    assert fields["phone_number"] == ALICE
    assert fields["display_name"] == "Al&quot;ice"
    assert fields["stake_amount"] == "2500"
    assert fields["invite_phone"] == "0772000002"
    assert re.search(r'value="friend"[^>]*checked', form)
    fill(client, display_name="Alice", stake_amount="2500", opponent="friend", invite_phone="0772000002")
    pay()
    assert "Waiting for your friend" in page(client)


def test_a_joiner_tries_again_for_the_same_match(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    paid(Client(), stake(Client(), BOB, 2000, create_private=True), BOB)
    code = Entry.objects.get().match_code or ""
    fill(client, opponent="code", match_code=code, stake_amount="2000")
    pay("FAILED")
    form = page(client, "/waiting/retry")
    assert f'value="{code}"' in form
    assert ">Pay 2,000 UGX</button>" in form
    assert f'value="{ALICE}"' in form
    Entry.objects.filter(match_code=code).update(expires_at=timezone.now() - timedelta(minutes=1))
    form = page(client, "/waiting/retry")
    assert "This match code has expired." in form
    assert "Ask your friend for a new invite" in form


def test_a_payment_too_late_is_told_of(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client)
    other = stake(Client(), ALICE)
    paid(Client(), other, ALICE)
    entry = Entry.objects.earliest("pk")
    paid(Client(), {"transaction_id": entry.payment.transaction_id, "stake_amount": 1000}, ALICE)
    assert "1,000 UGX will be refunded to" in page(client)
