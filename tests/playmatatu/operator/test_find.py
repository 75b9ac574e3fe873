"""Finding a player, and the timeline of everything about them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from game.models import Entry, Player, Session
from game.rules.results import record_result
from payments import refunds
from payments.models import MatchResult, Payment
from playmatatu.operator import find
from sms import suppression
from sms.models import SmsMessage, SmsPause, SmsSuppression
from sms.outbox import queue_sms
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, age, paid, paid_stake, stake
from tests.payments.helpers import record_by_hand

pytestmark = pytest.mark.django_db(transaction=True)

FIND = "/admin/find/"


def e164(phone: str) -> str:
    return f"+256{phone[1:]}"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("grace", password="x"))
    return client


@pytest.fixture
def matched(sandbox: Sandbox, settings: Any) -> Entry:
    """Carol created a private match and paid. Dave joined by its code and paid."""
    settings.MOMO_AUTO_APPROVE = False
    client = Client()
    private = paid_stake(client, CAROL, 2000, create_private=True, invite_phone=DAVE)
    paid_stake(client, DAVE, 2000, match_code=private.match_code)
    return Entry.objects.select_related("payment", "session").get(pk=private.pk)


def page(client: Client, **query: Any) -> str:
    answer = client.get(FIND, query, follow=True)
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


@pytest.mark.parametrize("term", ["0772000003", "+256772000003", "256 772 000 003", "772000003", "0772-000-003"])
def test_a_number_in_any_notation(operator: Client, matched: Entry, term: str) -> None:
    assert "Player 0772 000 003" in page(operator, q=term)


def test_whom_a_code_a_link_or_an_id_means(matched: Entry) -> None:
    both = [e164(CAROL), e164(DAVE)]
    session = Session.objects.get()
    code = matched.match_code or ""
    Payment.objects.filter(pk=matched.payment_id).update(provider_id="dmp-77")
    SmsMessage.objects.filter(phone=e164(DAVE), kind="private_invite").update(provider_id="2047158")
    for term in (
        code,
        code.lower(),
        f"http://x/?match_code={code}",
        session.token,
        f"https://x/g/{session.token}?pt=x",
    ):
        assert find.phones(f" {term} ") == both, term
    assert find.phones(matched.payment.transaction_id) == [e164(CAROL)]
    assert find.phones("dmp-77") == [e164(CAROL)]
    assert find.phones("2047158") == [e164(DAVE)]
    assert find.phones(f"invite:{matched.pk}") == [e164(DAVE)]
    for nothing in ("", " ", "%", "dmp-7", "AAAAAA", "'; DROP TABLE", "\0", "9" * 300, "x" * 5000):
        assert find.phones(nothing) == [], nothing


def test_everything_in_the_order_in_which_it_happened(operator: Client, matched: Entry) -> None:
    html = page(operator, q=CAROL)
    way = html[html.index("<h2>Timeline") :]
    steps = (
        "Staked 2,000 UGX",
        "Callback: SUCCESS",
        "payment_success: Queued",
        "payment_success: Accepted by DMark",
        f"Matched: match {matched.session_id}",
        "match_found: Accepted by DMark",
    )
    places = [way.index(step) for step in steps]
    assert places == sorted(places), list(zip(steps, places, strict=True))
    assert f"A private match, code {matched.match_code}; 0772 ••• 004 invited." in way
    assert "Against 0772 ••• 004, for 4,000 UGX." in way
    for url in (
        f"/admin/game/entry/{matched.pk}/change/",
        f"/admin/payments/payment/{matched.payment_id}/change/",
        f"/admin/game/session/{matched.session_id}/change/",
        f"{FIND}?player={Player.objects.get(phone=e164(DAVE)).pk}",
    ):
        assert f'href="{url}"' in html
        assert operator.get(url).status_code == 200
    assert "pt=" not in html.replace("pt=[redacted]", "")


def test_i_paid_and_got_nothing(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    """One search shows the money, its meaning and the possible actions."""
    settings.MOMO_AUTO_APPROVE = False
    entry = paid_stake(operator, ALICE, 5000)
    html = page(operator, q=ALICE)
    assert "waits for an opponent · Paid." in html
    assert "No payment by this player needs action." in html
    age()
    html = page(operator, q=ALICE)
    assert "nobody joined in time · 5,000 UGX is due back to the player." in html
    assert "Pay it out now, or record a refund made another way." in html
    assert "No payment by this player needs action." not in html
    acts = re.findall(r'name="action" value="(\w+)"><input type="hidden" name="_selected_action" value="(\d+)"', html)
    assert acts == [("mark_refunded", str(entry.payment_id))]
    asked = operator.post(
        "/admin/payments/payment/", {"action": "mark_refunded", "_selected_action": [entry.payment_id]}
    )
    assert "manual refund" in asked.content.decode().lower()
    record_by_hand(Payment.objects.filter(pk=entry.payment_id), "grace", "in cash at the shop")
    html = page(operator, q=ALICE)
    assert "The money was refunded to the player." in html
    assert "Refund of 5,000 UGX recorded by hand, by grace" in html
    assert "in cash at the shop" in html


def test_the_loser_is_not_told_to_have_won(operator: Client, matched: Entry) -> None:
    """Carol won and got the prize. Dave's stake was part of this payout, but he lost."""
    session = matched.session
    assert session
    assert record_result(session, "win", matched, by="game server")
    refunds.prize_by_hand(MatchResult.objects.get().pk, "grace", "in cash")
    won, lost = page(operator, q=CAROL), page(operator, q=DAVE)
    assert "match won · This player won the match, and the prize was paid." in won
    assert "Match result: won" in won
    assert "Prize of 4,000 UGX recorded by hand, by grace" in won
    assert "match lost · This player lost the match, and the winner&#x27;s prize was paid." in lost
    assert "Match result: lost" in lost
    for word in ("result: won", "Payout", "Prize of"):
        assert word not in lost, word


def test_only_the_text_with_the_link_is_offered(operator: Client, matched: Entry) -> None:
    """Neither of Carol's messages arrived. The older one says "Share your code", although she is matched already."""
    SmsMessage.objects.filter(phone=e164(CAROL)).update(status="undelivered", error="The network gave up.")
    link = SmsMessage.objects.get(phone=e164(CAROL), kind="match_found")
    acts = re.findall(
        r'name="action" value="resend"><input type="hidden" name="_selected_action" value="(\d+)"',
        page(operator, q=CAROL),
    )
    assert acts == [str(link.pk)] * 2  # The button is on the banner and in the list of messages.


def test_a_stop_and_its_invite_are_explained(operator: Client, sandbox: Sandbox) -> None:
    suppression.stop(e164(BOB), "The person sent STOP by SMS.")
    stake(Client(), ALICE, 2000, create_private=True, invite_phone=BOB)
    html = page(operator, q=BOB)
    assert "unknown user" not in html
    assert "Texts about the player's own money and matches are still sent." in html
    entry = SmsSuppression.objects.get()
    assert f'href="/admin/sms/smssuppression/{entry.pk}/change/"' in html
    assert "private_invite: Not sent" in html
    assert "private_invite: Queued" not in html


def test_the_amount_paid_includes_the_fee(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, 500
    paid_stake(operator, ALICE, 5000)
    html = page(operator, q=ALICE)
    assert "5,000 UGX (5,500 UGX with the fee)" in html
    assert "Paid 5,500 UGX" in html


@pytest.mark.parametrize(
    ("settled_by", "sentence"),
    [
        ("answer", "Confirmed by DMarkPay&#x27;s reply to the payment request."),
        ("asking", "Confirmed by checking with DMarkPay."),
        ("callback", "Confirmed by a callback."),
        ("operator", "Recorded by an operator."),
    ],
)
def test_a_payment_says_how_it_was_confirmed(
    operator: Client, sandbox: Sandbox, settings: Any, settled_by: str, sentence: str
) -> None:
    settings.MOMO_AUTO_APPROVE = False
    paid_stake(operator, ALICE)
    Payment.objects.update(settled_by=settled_by, asked_at=timezone.now(), network="mtn")
    html = page(operator, q=ALICE)
    assert sentence in html
    assert "requested (MTN)" in html


def test_what_operators_did_is_part_of_it(operator: Client, sandbox: Sandbox) -> None:
    message = SmsMessage.objects.create(
        phone=e164(BOB), text="x", kind="match_found", status="failed", expires_at="2030-01-01T00:00:00Z"
    )
    operator.post("/admin/sms/smsmessage/", {"action": "resend", "_selected_action": [message.pk], "post": "yes"})
    operator.post("/admin/sms/smssuppression/add/", {"phone": BOB, "reason": "complained loudly"})
    html = page(operator, q=BOB)
    assert "match_found: Resent by grace" in html
    assert "By grace" in html
    assert "This number is on the do-not-text list:</b> complained loudly" in html


def test_a_code_of_a_match_offers_both(operator: Client, matched: Entry) -> None:
    html = page(operator, q=matched.match_code)
    assert "This matches more than one player:" in html
    for phone in (CAROL, DAVE):
        player = Player.objects.get(phone=e164(phone))
        assert f'<a href="{FIND}?player={player.pk}">0772 000 {phone[-3:]}</a>' in html


def test_nothing_found(operator: Client) -> None:
    assert "No match." in page(operator, q="nonsense")
    assert "No stakes, payments or texts for 0772 999 999." in page(operator, q="0772999999")
    assert "No match." in page(operator, player="99999")
    for odd in ("x", "-1", "9" * 30, "²"):
        assert "No match." in page(operator, player=odd)
    assert operator.get(FIND, {"q": "a\0"}).status_code == 400
    assert "<script>alert" not in page(operator, q="<script>alert(1)</script>")
    assert operator.post(FIND, {"q": "x"}).status_code == 405


def test_each_sees_what_they_may(client: Client, matched: Entry) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)
    assert client.get(FIND, {"q": CAROL}).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_smsmessage"))
    html = page(client, q=CAROL)
    assert "match_found: Accepted by DMark" in html
    assert "Staked" not in html
    assert "Callback" not in html
    assert e164(CAROL) not in html.replace(f'value="{CAROL}"', "")
    viewer.user_permissions.add(Permission.objects.get(codename="view_payment"))
    html = page(client, q=CAROL)
    assert "Callback: SUCCESS" in html
    assert "without a stake" not in html
    assert e164(CAROL) not in html
    viewer.user_permissions.add(Permission.objects.get(codename="view_entry"))
    assert ">0772 ••• 003</a>" in page(client, q=matched.match_code)
    viewer.user_permissions.add(Permission.objects.get(codename="view_full_phone"))
    assert "Player 0772 000 003" in page(client, q=CAROL)
    client.logout()
    assert client.get(FIND, {"q": CAROL}).status_code == 302


def test_few_queries_however_long_the_story(
    operator: Client, sandbox: Sandbox, settings: Any, django_assert_max_num_queries: Any
) -> None:
    settings.MOMO_AUTO_APPROVE = False
    for _ in range(5):
        paid_stake(operator, ALICE)
        paid_stake(operator, BOB)
    placed = stake(operator, ALICE)
    paid(operator, placed, ALICE, "FAILED")
    SmsSuppression.objects.create(phone=e164(ALICE), reason="x")
    page(operator, q=ALICE)
    with django_assert_max_num_queries(30):
        page(operator, q=ALICE)


# --- the lists take every notation too


@pytest.mark.parametrize("path", ["game/player", "game/entry", "game/session", "payments/payment", "sms/smsmessage"])
@pytest.mark.parametrize("term", ["0772000003", "772000003", "+256 772 000003"])
def test_every_list_takes_every_notation(operator: Client, matched: Entry, path: str, term: str) -> None:
    stake(operator, ALICE)
    answer = operator.get(f"/admin/{path}/", {"q": term})
    found = answer.context["cl"].result_list
    assert found
    assert {getattr(row, "phone", e164(CAROL)) for row in found} == {e164(CAROL)}
    assert not operator.get(f"/admin/{path}/", {"q": "0772999998"}).context["cl"].result_list


def test_lists_take_codes_and_ids(operator: Client, matched: Entry) -> None:
    code, token = matched.match_code or "", Session.objects.get().token
    for path, term in (("entry", code.lower()), ("entry", matched.payment.transaction_id), ("session", token)):
        assert len(operator.get(f"/admin/game/{path}/", {"q": term}).context["cl"].result_list) == 1, term


def test_a_failed_stake_ends_when_its_payment_failed(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    """The friend never got a message, and the end is not dated at the stake's creation. The ids are shown."""
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(operator, ALICE, 5000, create_private=True, invite_phone=BOB)
    assert "0772 ••• 002 not invited yet." in page(operator, q=ALICE)
    Entry.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    paid(operator, placed, ALICE, "FAILED")
    Payment.objects.update(provider_id="dmp-77")
    html = page(operator, q=ALICE)
    way = html[html.index("<h2>Timeline") :]
    assert (
        way.index("Staked 5,000 UGX") < way.index("Callback: FAILED") < way.index(f"Stake {placed['queue_id']}: over")
    )
    assert "0772 ••• 002 invited" not in html
    assert f"Transaction ID {placed['transaction_id']}, DMarkPay ID dmp-77" in html


def test_a_waiting_text_says_why_it_waits(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    queue_sms(ALICE, "x", kind="hint")
    assert "No SMS worker is running." in page(operator, q=ALICE)
    SmsPause.objects.create(reason="Wrong links", actor="grace")
    html = page(operator, q=ALICE)
    assert "Sending of all texts is paused by grace: Wrong links" in html
    assert "Ready to send" not in html
    # Without a worker, a message that was queued during a pause is not sent.
    SmsPause.objects.all().delete()
    settings.SMS_DELIVERY = "inline"
    assert "Ready to send" in page(operator, q=ALICE)
    SmsMessage.objects.update(due_at=timezone.now() - timedelta(minutes=5))
    html = page(operator, q=ALICE)
    assert "No process is sending it any more. Run manage.py sms_worker --once." in html
    assert "Ready to send" not in html
