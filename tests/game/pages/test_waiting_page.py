"""The waiting page: next steps, the invite, the end of a stake, and the links after the end."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from game.models import Entry
from payments.models import Payment
from sms.models import SmsMessage
from tests.game.pages.helpers import cancel, fill, own, shown
from tests.game_helpers import ALICE, BOB, CAROL, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)


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
        ("undelivered", "did not reach your friend's phone. Check the number or share the code."),
        ("failed", "could not be sent. Check the number or share the code."),
        ("expired", "could not be sent in time. Share the code."),
        ("rate_limited", "got a text a moment ago, so your invite was not sent. Share the code."),
        ("disabled", "switched off at the moment, so your invite was not sent. Share the code."),
        ("unknown", "can't tell if your invite was sent. Share the code to be safe."),
        ("cancelled", "Your friend could not be texted. Share the code."),
    ],
)
def test_the_invite_s_status(client: Client, status: str, words: str) -> None:
    fill(client, opponent="friend", invite_phone="+256 772 000 002")
    SmsMessage.objects.update(status=status)
    text = shown(client)
    assert words in text
    assert "0772 000 002" in text


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("INVITES_PER_INVITER_DAY", "reached today's limit of invites. Share the code yourself."),
        ("INVITES_PER_RECIPIENT_DAY", "number has reached today's limit of invites. Share the code yourself."),
        ("INVITES_PER_ADDRESS_HOUR", "sent from your network in the last hour. Share the code yourself."),
    ],
)
def test_an_invite_over_a_limit_is_explained(client: Client, settings: Any, limit: str, words: str) -> None:
    setattr(settings, limit, 0)
    fill(client, opponent="friend", invite_phone=BOB)
    for _ in range(2):  # The page is loaded twice.
        assert words in shown(client)
    assert SmsMessage.objects.count() == 0


def test_without_an_invite_there_is_no_sentence_about_one(client: Client) -> None:
    fill(client, opponent="friend")
    text = shown(client)
    assert 'class="say invite' not in text
    assert (Entry.objects.get().match_code or "no code") in text
    assert "Project-Id-Version" not in text


def test_it_counts_down(client: Client, settings: Any) -> None:
    settings.QUEUE_EXPIRY_MINUTES = 7
    fill(client)
    text = shown(client)
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
    text = shown(client)
    for words in ("Searching for an opponent", "with the same stake", "opens the match", "We'll text you", "4,000 UGX"):
        assert words in text
    cancel(client)
    fill(client, opponent="friend")
    text = shown(client)
    assert "Send your friend this code or link." in text
    assert f"/?match_code={Entry.objects.latest('pk').match_code}" in text
    assert 'id="share"' in text


def test_it_moves_on_without_a_script_until_it_is_over(client: Client) -> None:
    fill(client)
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in shown(client)
    part = shown(client, **{"X-Part": "1"})
    assert "<html" not in part
    assert "data-live" in part
    cancel(client)
    assert "refresh" not in shown(client)
    assert "data-live" not in shown(client, **{"X-Part": "1"})


def test_leaving_is_one_tap(client: Client) -> None:
    fill(client)
    assert client.get(own(client, "/cancel")).status_code == 405
    text = cancel(client).content.decode()
    assert "You cancelled this stake." in text
    assert stake(client, CAROL)["status"] == "queued"
    # A browser without the stake's cookie cannot cancel the stake.
    fill(client, stake_amount="7000")
    for path in (own(client, "/cancel"), f"/waiting/{2**70}/cancel"):
        assert Client().post(path).status_code == 302
    assert Entry.objects.latest("pk").status == "queued"


def test_a_page_of_the_previous_release_still_cancels(client: Client) -> None:
    fill(client)
    assert "You cancelled this stake." in client.post(own(client, "/leave"), follow=True).content.decode()


def test_waiting_without_a_stake_leads_to_the_start(client: Client) -> None:
    for cookie in ("", "forged:x"):
        client.cookies["stakes"] = client.cookies["stake"] = cookie
        for path, target in (("/waiting", "/"), ("/waiting/1", "/link"), ("/waiting/1/retry", "/")):
            assert client.get(path)["Location"] == target


def test_another_took_the_friend_s_match(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    created = stake(Client(), BOB, create_private=True)
    paid(Client(), created, BOB)
    code = Entry.objects.get().match_code or ""
    fill(client, opponent="code", match_code=code)
    assert "If someone else pays first" in shown(client)
    quicker = stake(Client(), CAROL, match_code=code)
    paid(Client(), quicker, CAROL)
    entry = Entry.objects.get(player__phone="+256772000001")
    paid(Client(), {"transaction_id": entry.payment.transaction_id, "stake_amount": 1000}, ALICE)
    assert "Someone else joined your friend's match first." in shown(client)


# --- polling


def poll(client: Client, tag: str = "", language: str = "en") -> Any:
    headers = {"X-Part": "1", "If-None-Match": tag, "Accept-Language": language}
    return client.get(own(client), headers=headers)


def test_an_unchanged_page_is_304_after_one_query(client: Client) -> None:
    fill(client, opponent="friend", invite_phone=BOB)
    path = own(client)
    loaded = client.get(path)
    assert f'data-tag="{escape(loaded["ETag"])}"' in loaded.content.decode()
    with CaptureQueriesContext(connection) as queries:
        unchanged = client.get(path, headers={"X-Part": "1", "If-None-Match": loaded["ETag"]})
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", loaded["ETag"])
    assert len(queries) == 1
    # A full page load never gets a 304, because the browser has no page to show.
    assert client.get(path, headers={"If-None-Match": loaded["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda: SmsMessage.objects.update(status="delivered"),
        lambda: Entry.objects.update(expires_at=timezone.now()),
        lambda: Entry.objects.update(status="expired", reason="left"),
        lambda: Entry.objects.update(invite_refused="recipient"),
        lambda: Payment.objects.update(collected_at=timezone.now()),
        lambda: Payment.objects.update(status="FAILED"),
    ],
)
def test_a_change_is_polled(client: Client, change: Callable[[], Any]) -> None:
    fill(client, opponent="friend", invite_phone=BOB)
    tag = poll(client)["ETag"]
    assert poll(client, tag).status_code == 304
    assert poll(client, tag, language="sw").status_code == 200
    change()
    assert poll(client, tag).status_code == 200


def test_the_end_of_the_payment_prompt_is_polled(client: Client) -> None:
    fill(client)
    Entry.objects.update(status="awaiting_payment", opened_at=None, expires_at=None)
    Payment.objects.update(status="PENDING", collection="asked", network="mtn", asked_at=timezone.now())
    tag = poll(client)["ETag"]
    asked_at = Payment.objects.get().asked_at
    assert asked_at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sms.clock.now", lambda: asked_at + timedelta(minutes=3))
        assert "MTN hasn't answered yet." in poll(client, tag).content.decode()


def test_a_match_is_polled(client: Client) -> None:
    fill(client)
    tag = poll(client)["ETag"]
    stake(Client(), BOB)
    assert poll(client, tag).status_code == 302


# --- payment by callback


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"opponent": "anyone"}, "we find you an opponent"),
        ({"opponent": "friend", "invite_phone": BOB}, "your code appears here"),
    ],
)
def test_payment_is_waited_for(client: Client, settings: Any, fields: dict[str, str], words: str) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client, **fields)
    text = shown(client)
    assert "Waiting for your payment" in text
    assert "Confirm the payment of 1,000 UGX on your phone." in text
    assert words in text
    # Before the payment the code is not shown, because nobody can join with it yet.
    assert f"match_code={Entry.objects.get().match_code}" not in text
    pay()
    assert "Searching for an opponent" in shown(client) or "Waiting for your friend" in shown(client)


def test_a_failed_payment_is_tried_again_with_all_input_kept(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client, display_name='Al"ice', stake_amount="2500", opponent="friend", invite_phone="+256772000002")
    pay("FAILED")
    text = shown(client)
    assert "<h1>No money was taken</h1>" in text
    assert text.count("o money was taken") == 2  # The sentence is in the title and on the page.
    assert "Your payment failed. You can try again." in text
    assert f'href="{own(client, "/retry")}"' in text
    form = client.get(own(client, "/retry")).content.decode()
    fields = dict(re.findall(r'<input[^>]*name="(\w+)" value="([^"]*)"', form))
    assert fields["phone_number"] == "0772 000 001"
    assert fields["display_name"] == "Al&quot;ice"
    assert fields["stake_amount"] == "2500"
    assert fields["invite_phone"] == "0772 000 002"
    assert re.search(r'value="friend"[^>]*checked', form)
    fill(client, display_name="Alice", stake_amount="2500", opponent="friend", invite_phone="0772000002")
    pay()
    assert "Waiting for your friend" in shown(client)


def test_a_joiner_tries_again_for_the_same_match(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    paid(Client(), stake(Client(), BOB, 2000, create_private=True), BOB)
    code = Entry.objects.get().match_code or ""
    fill(client, opponent="code", match_code=code, stake_amount="2000")
    pay("FAILED")
    form = shown(client, own(client, "/retry"))
    assert f'value="{code}"' in form
    assert ">Pay 2,000 UGX</button>" in form
    assert 'value="0772 000 001"' in form
    Entry.objects.filter(match_code=code).update(expires_at=timezone.now() - timedelta(minutes=1))
    form = shown(client, own(client, "/retry"))
    assert "This match code has expired." in form
    assert "Ask your friend for a new invite" in form


def test_a_late_payment_is_explained(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client)
    other = stake(Client(), ALICE)
    paid(Client(), other, ALICE)
    entry = Entry.objects.earliest("pk")
    paid(Client(), {"transaction_id": entry.payment.transaction_id, "stake_amount": 1000}, ALICE)
    assert "We will refund 1,000 UGX to 0772 000 001." in shown(client)
