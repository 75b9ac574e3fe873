"""The result of a match: the game server's endpoint, the prize, and the messages."""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from game.models import Session
from game.rules import results
from payments import journal, ledger, matches, reconciliation, refunds, services
from payments.models import MatchResult, Payment, PaymentEvent, PayoutShare, Refund
from payments.rules.states import Account, Kind
from sms.models import SmsMessage
from tests.conftest import wait_for
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, kinds, paid, stake
from tests.payments.helpers import asked, later, notice, settle
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "the-game-server-signs-with-this"
FORMS = ({"outcome": "win"}, {"outcome": "lost"}, {"outcome": "draw", "winner": "x"}, {"outcome": "win", "winner": "x"})


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.GAME_SERVER_SECRET, settings.COMMISSION_FLAT = False, SECRET, 100


@pytest.fixture
def players(client: Client) -> list[dict[str, Any]]:
    """Two paid and matched stakes of 1,000 UGX: Alice's and Bob's."""
    stakes = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    for placed, phone in zip(stakes, (ALICE, BOB), strict=True):
        paid(client, placed, phone)
    return stakes


def report(client: Client, body: Any, *, token: str = "", secret: str = SECRET, **headers: str) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return client.post(
        f"/api/v1/game/{token or Session.objects.get().token}/result",
        raw,
        content_type="application/json",
        headers={"X-Game-Signature": f"sha256={digest}"} | headers,
    ).status_code


def win(player: dict[str, Any]) -> dict[str, str]:
    return {"outcome": "win", "winner": player["player_token"]}


def test_a_win_makes_the_prize_payable_once(client: Client, players: list[dict[str, Any]]) -> None:
    alice, bob = players
    assert [report(client, win(alice)) for _ in range(2)] == [200, 200]
    assert report(client, win(bob)) == 409
    assert report(client, {"outcome": "draw"}) == 409
    result = MatchResult.objects.get()
    assert (result.outcome, result.prize, result.recorded_by) == ("win", "payable", "game server")
    assert result.winner
    assert result.winner.phone == f"+256{ALICE[1:]}"
    assert not refunds.due().exists()
    assert "prize_paid" not in kinds()


def test_a_match_with_a_result_is_not_closed(client: Client, players: list[dict[str, Any]]) -> None:
    report(client, {"outcome": "void"})
    with pytest.raises(matches.Refused, match="is recorded"):
        results.close_one(Session.objects.get(), by="cashier", note="paid by hand")


def test_a_share_of_a_prize_is_not_refunded(client: Client, players: list[dict[str, Any]]) -> None:
    """Otherwise the payout's row would stay open, and the prize could never be paid."""
    report(client, win(players[0]))
    payment = Payment.objects.earliest("pk")
    with pytest.raises(matches.Refused, match="share of a prize"):
        refunds.refund_by_hand(payment.pk, "cashier", "by hand")
    with pytest.raises(matches.Refused, match="share of a prize"):
        refunds.order_refund(payment.pk, "cashier")
    assert refunds.prize_by_hand(MatchResult.objects.get().pk, "cashier", "by hand").amount == 2000


def test_the_winner_is_told_when_the_prize_was_sent(client: Client, players: list[dict[str, Any]]) -> None:
    report(client, win(players[1]))
    refunds.prize_by_hand(MatchResult.objects.get().pk, "cashier", "by hand")
    message = SmsMessage.objects.get(kind="prize_paid")
    assert message.phone == f"+256{BOB[1:]}"
    assert message.text == "You won 2000 UGX. It was sent to your mobile money."
    assert report(client, win(players[1])) == 200
    assert SmsMessage.objects.filter(kind="prize_paid").count() == 1
    assert refunds.returned(Refund.objects.get().pk, "cashier", "the number is not registered")
    refunds.prize_by_hand(MatchResult.objects.get().pk, "cashier", "by hand, to another number")
    assert SmsMessage.objects.filter(kind="prize_paid").count() == 2  # one for each payout


@pytest.mark.parametrize("outcome", ["draw", "void"])
def test_without_a_winner_both_get_their_money_back(client: Client, players: Any, outcome: str) -> None:
    assert [report(client, {"outcome": outcome}) for _ in range(2)] == [200, 200]
    assert sorted(payment.amount for payment in refunds.due()) == [1100, 1100]
    texts = SmsMessage.objects.filter(kind="refund_due").values_list("text", flat=True)
    assert list(texts) == ["Your match ended without a winner. Your 1100 UGX will be refunded."] * 2


def test_no_message_about_a_draw_is_lost_by_an_error(client: Client, players: Any, monkeypatch: Any) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", lambda *args, **values: 1 / 0)
        assert report(client, {"outcome": "draw"}) == 200
    assert services.tell_again() == (2, 0)
    assert services.tell_again() == (0, 0)
    assert [kinds(phone).count("refund_due") for phone in (ALICE, BOB)] == [1, 1]


def test_a_refund_ordered_before_the_message_about_a_draw_keeps_that_message(
    client: Client, collection: Sandbox, settings: Any, monkeypatch: Any
) -> None:
    collection.faults(callback="never")
    for phone in (ALICE, BOB):
        payment = Payment.objects.get(transaction_id=stake(client, phone, 1000)["transaction_id"])
        collection.tap(payment.transaction_id, "pay")
        later(payment, 5)
    services.work_once()
    settings.SMS_DELIVERY = "worker"
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", lambda *args, **values: 1 / 0)
        assert report(client, {"outcome": "draw"}) == 200
        refunds.order_refund(Payment.objects.earliest("pk").pk, "cashier")
    assert services.tell_again() == (2, 0)
    assert [kinds(phone).count("refund_due") for phone in (ALICE, BOB)] == [1, 1]


def test_a_refunded_payment_gets_no_message_that_it_arrived(client: Client, monkeypatch: Any) -> None:
    stakes = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    paid(client, stakes[0], ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", lambda *args, **values: 1 / 0)
        paid(client, stakes[1], BOB)
        assert report(client, {"outcome": "draw"}) == 200
        for payment in list(Payment.objects.all()):
            refunds.refund_by_hand(payment.pk, "cashier", "by hand")
    services.tell_again()
    assert "payment_success" not in kinds(BOB)
    assert "match_found" not in kinds(ALICE)


def test_a_payment_whose_match_gets_its_result_before_it_is_locked_changes_the_prize(
    client: Client, monkeypatch: Any
) -> None:
    stakes = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    paid(client, stakes[0], ALICE)
    payment = Payment.objects.earliest("pk")
    lock, now = journal.locked, [True]

    def late(key: int) -> Payment:
        if now:
            now.clear()
            paid(client, stakes[1], BOB)
            assert report(client, win(stakes[0])) == 200
        return lock(key)

    monkeypatch.setattr("payments.journal.locked", late)
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    assert MatchResult.objects.get().prize == "held"


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_a_prize_is_payable_although_its_result_arrives_while_a_dispute_is_closed(
    client: Client, players: list[dict[str, Any]]
) -> None:
    payment = Payment.objects.earliest("pk")
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    session = Session.objects.get()
    with _meanwhile(lambda: matches.judge(payment.pk, Kind.CONTEST_WITH_US, actor="anna", note="looked up")):
        results.record_result(session, "win", session.entries.get(payment=payment), by="game server")
    assert MatchResult.objects.get().prize == "payable"


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_a_match_has_no_prize_although_an_answer_arrives_while_its_stakes_are_given_back(
    client: Client, players: list[dict[str, Any]]
) -> None:
    report(client, win(players[0]))
    first, second = Payment.objects.order_by("pk")
    with _meanwhile(lambda: settle(first.pk, Payment.Status.SUCCESS, by="callback")):
        settle(second.pk, Payment.Status.FAILED, by="callback")
        results.give_back(Session.objects.get(), by="anna", note="taken back")
    result = MatchResult.objects.get()
    assert (result.outcome, result.prize) == ("void", "")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_the_house_does_not_pay_while_the_stakes_are_given_back(client: Client, players: list[dict[str, Any]]) -> None:
    report(client, win(players[0]))
    gone = lose_one_stake(players)
    matches.judge(gone.pk, Kind.CONTEST_GONE, actor="anna", note="not in the account")
    refused = []

    def pay() -> None:
        try:
            matches.house_pays(MatchResult.objects.get().pk, by="ben", note="goodwill")
        except matches.Refused as refusal:
            refused.append(refusal)

    with _meanwhile(pay):
        results.give_back(Session.objects.get(), by="anna", note="taken back")
    assert len(refused) == 1
    assert ledger.balances()[Account.PRIZE] == 0


@contextmanager
def _meanwhile(call: Callable[[], object]) -> Iterator[None]:
    """Run the block in a transaction that has locked all payments, while `call` waits in a thread for the first."""

    def run() -> None:
        call()
        connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        list(Payment.objects.select_for_update().order_by("pk"))
        thread.start()
        wait_for(_waits_for_a_lock)
        yield
    thread.join(20)


def _waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("body", [*FORMS, [], b"{", {}])
def test_a_malformed_result_is_refused(client: Client, players: Any, body: Any) -> None:
    assert report(client, body) == 400
    assert not MatchResult.objects.exists()


def test_the_signature_comes_first(client: Client, players: list[dict[str, Any]], settings: Any) -> None:
    body = win(players[0])
    assert report(client, body, secret="another") == 403
    assert report(client, b"{", secret="another") == 403
    assert report(client, body, **{"X-Game-Signature": ""}) == 403
    assert report(client, body, token="unknown") == 404
    settings.GAME_SERVER_SECRET = ""
    assert report(client, body) == 404
    assert report(client, body, secret="") == 404
    assert not MatchResult.objects.exists()


def test_a_winner_of_another_match_is_refused(client: Client, players: list[dict[str, Any]]) -> None:
    token = Session.objects.get().token
    others = [stake(client, phone, 2000) for phone in ("0772000011", "0752000012")]
    for placed, phone in zip(others, ("0772000011", "0752000012"), strict=True):
        paid(client, placed, phone)
    assert report(client, win(others[0]), token=token) == 400


def test_a_match_without_money(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = True
    players = [stake(client, phone) for phone in (ALICE, BOB)]
    assert report(client, win(players[0])) == 200
    assert MatchResult.objects.get().prize == ""
    assert refunds.pay_prizes_due() == 0


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize(
    ("outcome", "prize", "places"),
    [
        ("win", ["", "held", "payable"], [["in_match"], ["prize"] * 2]),
        ("draw", [""] * 3, [["refund_due"], ["refund_due"] * 2]),
    ],
)
def test_money_that_arrives_after_the_result_of_a_match_without_money(
    client: Client, settings: Any, before: int, outcome: str, prize: list[str], places: list[list[str]]
) -> None:
    """`before`: the number of stakes whose money arrives before the result. The other money arrives later."""
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = True, 0
    players = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    for number in range(3):
        if number == before:
            assert report(client, win(players[0]) if outcome == "win" else {"outcome": outcome}) == 200
        if number >= before:
            assert MatchResult.objects.get().prize == prize[number]
            assert _places() == (places[number - 1] if number else [])
        if number < 2:
            paid(client, players[number], (ALICE, BOB)[number])


def test_late_money_of_a_share_that_the_house_paid_may_be_taken_back_and_return(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = True, 0
    players = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    paid(client, players[1], BOB)
    assert report(client, win(players[1])) == 200
    matches.house_pays(MatchResult.objects.get().pk, by="anna", note="portal")
    paid(client, players[0], ALICE)
    paid(client, players[0], ALICE, "FAILED")
    payment = Payment.objects.earliest("pk")
    matches.judge(payment.pk, Kind.CONTEST_GONE, actor="anna", note="portal")
    paid(client, players[0], ALICE)
    payment.refresh_from_db()
    assert (payment.place, reconciliation.differs(payment)) == ("refund_due", "")


def _places() -> list[str]:
    """Return the ledger accounts that hold the money of all payments."""
    balances = journal.balances_of_all(Payment.objects.order_by("pk").values_list("pk", flat=True))
    return [account.value for balance in balances.values() for account in balance]


def act(client: Client, path: str, action: str, pk: int, **more: str) -> str:
    body = {"action": action, "_selected_action": [str(pk)], **more}
    answer = client.post(path, body, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_operator_pays_a_prize_by_hand(client: Client, admin_client: Client, players: list[dict[str, Any]]) -> None:
    report(client, win(players[0]))
    result = MatchResult.objects.get()
    path = "/admin/payments/matchresult/"
    page = act(admin_client, path, "prize_by_hand", result.pk)
    assert "2,000 UGX" in page
    assert f"{ALICE[:4]} {ALICE[4:7]} {ALICE[7:]}" in page
    act(admin_client, path, "prize_by_hand", result.pk, post="yes", note="receipt 71")
    result.refresh_from_db()
    assert result.prize == "paid"
    assert SmsMessage.objects.filter(kind="prize_paid").count() == 1
    assert "No prize of the selected matches is payable." in act(admin_client, path, "prize_by_hand", result.pk)


def test_an_operator_gives_both_stakes_back(client: Client, admin_client: Client, players: Any) -> None:
    session = Session.objects.get()
    path = "/admin/game/session/"
    assert "None of the selected matches is over" in act(admin_client, path, "give_back", session.pk)
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    page = act(admin_client, path, "give_back", session.pk)
    assert "2,200 UGX" in page
    for _ in range(2):
        act(admin_client, path, "give_back", session.pk, post="yes", note="the game server was down")
    assert sorted(payment.amount for payment in refunds.due()) == [1100, 1100]
    result = MatchResult.objects.get()
    assert (result.outcome, result.recorded_by, result.note) == ("void", "admin", "the game server was down")
    assert SmsMessage.objects.filter(kind="refund_due").count() == 2


def lose_one_stake(players: list[dict[str, Any]]) -> Payment:
    """Alice wins. Then the provider takes Bob's money back, and an operator records this."""
    gone = Payment.objects.get(transaction_id=players[1]["transaction_id"])
    settle(gone.pk, Payment.Status.FAILED, by="callback")
    return gone


def test_the_winner_of_a_held_prize_gets_their_own_stake_back(
    client: Client, admin_client: Client, players: list[dict[str, Any]]
) -> None:
    report(client, win(players[0]))
    gone = lose_one_stake(players)
    matches.judge(gone.pk, Kind.CONTEST_GONE, actor="anna", note="not in the account")
    path = "/admin/game/session/"
    page = act(admin_client, path, "give_back", Session.objects.get().pk)
    assert "None of the selected" not in page
    for _ in range(2):
        act(admin_client, path, "give_back", Session.objects.get().pk, post="yes", note="no prize")
    result = MatchResult.objects.get()
    assert (result.outcome, result.prize) == ("void", "")
    assert [payment.transaction_id for payment in refunds.due()] == [players[0]["transaction_id"]]
    assert [message.phone for message in SmsMessage.objects.filter(kind="refund_due")] == [f"+256{ALICE[1:]}"]
    assert [reconciliation.differs(payment) for payment in Payment.objects.all()] == [""] * 2


def test_a_result_that_arrives_while_an_operator_gives_the_stakes_back_stays(
    client: Client, players: list[dict[str, Any]]
) -> None:
    report(client, win(players[0]))
    with pytest.raises(matches.Refused):
        results.give_back(Session.objects.get(), by="anna", note="the game server was down")
    result = MatchResult.objects.get()
    assert (result.outcome, result.prize, result.note) == ("win", "payable", "")
    assert not refunds.due().exists()


def test_the_house_pays_the_share_that_the_provider_took_back(
    client: Client, admin_client: Client, players: list[dict[str, Any]]
) -> None:
    report(client, win(players[0]))
    gone = lose_one_stake(players)
    result = MatchResult.objects.get()
    path = "/admin/payments/matchresult/"
    assert result.prize == "held"
    assert "Close an open dispute first." in act(admin_client, path, "house_pays", result.pk)
    matches.judge(gone.pk, Kind.CONTEST_GONE, actor="anna", note="not in the account")
    page = act(admin_client, path, "house_pays", result.pk)
    assert "2,000 UGX" in page
    assert "Why does the house pay?" in page
    for _ in range(2):
        act(admin_client, path, "house_pays", result.pk, post="yes", note="goodwill")
    result.refresh_from_db()
    assert result.prize == "payable"
    balances = {account: ugx for account, ugx in ledger.balances().items() if ugx}
    assert balances == {
        Account.PROVIDER: 1100,
        Account.LOST: 1000,
        Account.PRIZE: 2000,
        Account.COMMISSION: 100,
    }
    event = PaymentEvent.objects.get(kind="house_paid")
    assert (event.actor, event.note, event.payment) == ("admin", "goodwill", gone)
    act(admin_client, path, "prize_by_hand", result.pk, post="yes", note="cash", paid_from="elsewhere")
    assert ledger.balances()[Account.ELSEWHERE] == -2000
    assert ledger.balances()[Account.PROVIDER] == 1100
    assert [reconciliation.differs(payment) for payment in Payment.objects.all()] == [""] * 2


def test_a_prize_that_cannot_be_paid_out_says_so(
    client: Client, admin_client: Client, players: list[dict[str, Any]]
) -> None:
    """A third party collected the stakes, so no provider can send the payout."""
    report(client, win(players[0]))
    result = MatchResult.objects.get()
    page = act(admin_client, "/admin/payments/matchresult/", "pay_prize", result.pk, post="yes")
    assert "No provider that is set up can pay it out: record it by hand." in page
    result.refresh_from_db()
    assert result.prize == "payable"


def test_prizes_are_paid_automatically_unless_a_third_party_has_the_money(
    client: Client, players: list[dict[str, Any]], collection: Sandbox, settings: Any, caplog: Any
) -> None:
    report(client, win(players[0]))
    collection.faults(callback="never")
    stakes = [stake(client, phone, 1000) for phone in (CAROL, DAVE)]
    for placed in stakes:
        payment = Payment.objects.get(transaction_id=placed["transaction_id"])
        collection.tap(payment.transaction_id, "pay")
        later(payment, 5)
    services.work_once()
    report(client, win(stakes[0]), token=Session.objects.latest("pk").token)
    settings.PRIZE_AUTO_PAYOUT = True
    for _ in range(2):
        services.work_once()
    assert list(MatchResult.objects.order_by("pk").values_list("prize", flat=True)) == ["payable", "paid"]
    assert kinds(CAROL)[-1] == "prize_paid"
    assert "prize_not_ordered" not in caplog.text


def test_an_operator_pays_a_prize_by_payout(
    client: Client, admin_client: Client, collection: Sandbox, settings: Any
) -> None:
    collection.faults(callback="never")
    stakes = [stake(client, phone, 1000) for phone in (ALICE, BOB)]
    for placed in stakes:
        payment = Payment.objects.get(transaction_id=placed["transaction_id"])
        collection.tap(payment.transaction_id, "pay")
        later(payment, 5)
    services.work_once()
    report(client, win(stakes[0]))
    result = MatchResult.objects.get()
    settings.SMS_DELIVERY = "worker"
    # Without the provider's id of one stake, no poll could confirm it before the payout.
    ids = Payment.objects.filter(pk=Payment.objects.latest("pk").pk)
    provider_id = ids.get().provider_id
    ids.update(provider_id="")
    with pytest.raises(matches.Refused, match="record it by hand"):
        refunds.order_prize(result.pk, "anna")
    # A poll stores the id from a notification.
    notice(client, ids.get(), transaction_id=provider_id)
    services.work_once()
    assert ids.get().provider_id == provider_id
    refunds.order_prize(result.pk, "anna")
    # While a stake is disputed, the order is taken back for both payments. Then the prize can be ordered again.
    disputed = Payment.objects.latest("pk")
    settle(disputed.pk, Payment.Status.FAILED, by="asking")
    assert not PayoutShare.objects.filter(open=True).exists()
    matches.judge(disputed.pk, Kind.CONTEST_WITH_US, actor="anna", note="looked up")
    for _ in range(2):
        act(admin_client, "/admin/payments/matchresult/", "pay_prize", result.pk, post="yes")
        services.work_once()
    result.refresh_from_db()
    assert result.prize == "paid"
    payout = Refund.objects.get(state="succeeded")
    assert (payout.kind, payout.amount, payout.state, payout.actor) == ("prize", 2000, "succeeded", "admin")
    assert asked(collection, "payout") == {payout.reference: 1}
    assert ledger.balances()[Account.PROVIDER] == 200
    assert SmsMessage.objects.get(kind="prize_paid").phone == f"+256{ALICE[1:]}"
