"""Cases with real parts in which money was lost or paid twice before the journal existed."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from game.models import Entry, Player, Session
from game.rules.ending import announce_refunds, cancel
from payments import collection as collecting
from payments import journal, ledger, matches, reconciliation, refunds, services, status_polling
from payments.admin import actions, wording
from payments.journal import Cause
from payments.models import MatchResult, Payment, PaymentEvent, Refund
from payments.providers import Answer, Said
from payments.rules import match as match_rules
from payments.rules.match import Match, Result
from payments.rules.payment import apply, may_pay_out
from payments.rules.states import Account, Effect, Event, Kind, Place, Request, State, Status, Word
from tests.payments.helpers import (
    PHONE,
    asked,
    end_contest,
    fresh,
    later,
    notice,
    order_payouts,
    paid_late,
    pay,
    record_by_hand,
    settle,
)
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
ALL = Payment.objects.all()
OTHER = "+256772000002"


@pytest.fixture(autouse=True)
def quiet(collection: Sandbox, settings: Any) -> Any:
    settings.DMARK_PAY_TIMEOUT = 0.6
    collection.faults(callback="never", hang_seconds=1.5)
    yield
    # In every case the row, journal and ledger agree, and all accounts add up to zero.
    assert [reconciliation.differs(payment) for payment in ALL.all() if not payment.stale] == [""] * ALL.count()
    assets = (Account.PROVIDER, Account.ELSEWHERE, Account.LOST)
    balances = ledger.balances()
    assert sum(balances[account] for account in assets) == sum(
        amount for account, amount in balances.items() if account not in assets
    )


def truth(sandbox: Sandbox, payment: Payment, word: str) -> None:
    """The provider changes its answer."""
    sandbox.server.state.money.transactions[fresh(payment).provider_id].status = word


def paid(sandbox: Sandbox, phone: str = PHONE) -> Payment:
    payment = pay(phone)
    truth(sandbox, payment, "Successful")
    notice(Client(), payment)
    assert fresh(payment).status == "SUCCESS"
    return fresh(payment)


def test_a_reversal_counts_although_the_database_s_clock_was_set_back(collection: Sandbox) -> None:
    """All times of the payment are in the future. One poll brings the reversal and answers the notification."""
    payment, hour = paid(collection), timedelta(hours=1)
    truth(collection, payment, "Failed")
    collection.faults(pay_status="500")
    notice(Client(), payment)
    collection.faults(pay_status="ok")
    ALL.update(**{name: F(name) + hour for name in ("word_at", "ok_at", "answer_owed_since")})
    later(payment, 60)
    before = fresh(payment).asks
    for _ in range(10):
        services.work_once()
    payment = fresh(payment)
    assert (payment.place, payment.answer_owed_since, payment.asks - before) == ("contested", None, 1)


@pytest.mark.parametrize("event", ["order", "notification", "notification before the change", "process with old time"])
def test_a_poll_under_way_confirms_nothing_later_although_the_clock_was_set_back(
    collection: Sandbox, settings: Any, event: str
) -> None:
    """The clock is set back during the poll. So the poll seems to have begun after an order or a notification.

    In the last case, it was set back before the poll, but the process that stores the notification has not noticed.
    """
    payment, hour = paid_late(collection), timedelta(hours=1)
    settings.SMS_DELIVERY = "worker"
    ALL.update(next_ask_at=timezone.now())
    claimed = status_polling._claim(ALL)
    assert claimed is not None
    assert claimed.last_ask_at is not None
    if event != "process with old time":
        claimed.last_ask_at += hour
    if event == "order":
        order_payouts(ALL, "anna")
    else:
        notice(Client(), payment)
    if event in ("notification before the change", "process with old time"):
        ALL.update(answer_owed_since=F("answer_owed_since") + hour)
    status_polling._poll(claimed)
    payment = fresh(payment)
    if event == "order":
        assert not may_pay_out(journal.state_of(payment))
    else:
        assert payment.answer_owed_since is not None
    later(payment, 5)
    services.work_once()
    payment = fresh(payment)
    assert (payment.place, payment.answer_owed_since) == ("refunded" if event == "order" else "refund_due", None)


def test_of_two_polls_before_the_clock_was_set_back_the_one_that_began_later_counts() -> None:
    now, began = timezone.now(), timezone.now() + timedelta(hours=1)
    state = State(1000, status=Status.SUCCESS, place=Place.REFUND_DUE)
    state = apply(state, Event(Kind.WORD, said=Word.FAILED, began=began, polled=True), began).state
    earlier = Event(Kind.WORD, said=Word.SUCCESSFUL, began=began - timedelta(seconds=1), polled=True)
    answered = apply(state, earlier, now)
    assert (answered.state, answered.effects) == (state, (Effect("poll"),))


def test_a_poll_that_began_before_the_last_notification_does_not_answer_it() -> None:
    first, began, last = (timezone.now() + timedelta(seconds=number) for number in range(3))
    state = State(1000, status=Status.SUCCESS, place=Place.REFUND_DUE)
    for notified in (first, last):
        state = apply(state, Event(Kind.NOTIFIED), notified).state
    answered = apply(state, Event(Kind.WORD, said=Word.SUCCESSFUL, began=began, polled=True), last)
    assert answered.state.owed_since == last


def test_only_a_poll_answers_a_notification_or_confirms_a_payout() -> None:
    """The answer to the payment request is not the answer to a poll."""
    now, after = (timezone.now() + timedelta(seconds=number) for number in range(2))
    state = apply(State(1000, status=Status.SUCCESS, place=Place.REFUND_DUE), Event(Kind.ORDERED), now).state
    answers = [Event(Kind.WORD, said=Word.SUCCESSFUL, began=after, polled=polled) for polled in (False, True)]
    assert [may_pay_out(apply(state, answer, after).state) for answer in answers] == [False, True]
    state = apply(state, Event(Kind.NOTIFIED), now).state
    assert [apply(state, answer, after).state.owed_since for answer in answers] == [now, None]


PRIZE = State(1000, status=Status.SUCCESS, place=Place.PRIZE)
GONE, DISPUTED = PRIZE._replace(place=Place.NONE), PRIZE._replace(place=Place.CONTESTED, back=Place.PRIZE)


@pytest.mark.parametrize("shares", [(GONE, GONE), (GONE, DISPUTED)])
def test_the_house_pays_neither_both_shares_nor_beside_a_disputed_one(shares: tuple[State, State]) -> None:
    assert match_rules.house_pays(Match(shares, Result.WIN), timezone.now()).refusal


def test_a_disputed_share_of_a_match_whose_stakes_are_given_back_returns_to_its_player() -> None:
    given_back = match_rules.give_back(Match((PRIZE, DISPUTED), Result.WIN), timezone.now()).match
    assert [(share.place, share.back) for share in given_back.shares] == [
        (Place.REFUND_DUE, Place.NONE),
        (Place.CONTESTED, Place.REFUND_DUE),
    ]


def test_an_answer_that_came_too_late_is_in_the_journal(settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    payment = pay()
    [claimed] = collecting._claim(1)
    settle(payment.pk, Payment.Status.SUCCESS, by="asking")
    collecting._record(claimed, Answer(Said.PENDING, text="late"))
    assert payment.events.exclude(refused="").values_list("kind", "answer").get() == ("request_pending", "late")


def test_only_answers_that_differ_from_the_last_one_are_in_the_journal(settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    payment = pay()
    for text in ("one", "two", "two", "one"):
        journal.note_poll(payment, Cause("asking", answer=Answer(Said.PENDING, text=text)))
    answers = payment.events.filter(kind="polled").order_by("pk").values_list("answer", flat=True)
    assert list(answers) == ["one", "two", "one"]


@pytest.mark.parametrize("kind", [Kind.SETTLED_PAID, Kind.SETTLED_UNPAID, Kind.CONTEST_WITH_US])
def test_a_poll_follows_the_decision_of_an_operator(kind: Kind) -> None:
    now, pending = timezone.now(), State(1000, request=Request.AMBIGUOUS)
    contested = State(1000, status=Status.SUCCESS, place=Place.CONTESTED, back=Place.REFUND_DUE)
    state = contested if kind is Kind.CONTEST_WITH_US else pending
    assert Effect("poll") in apply(state, Event(kind, actor="anna"), now).effects


def test_the_operator_who_closed_a_dispute_orders_no_payout_before_a_poll() -> None:
    now = timezone.now()
    state = State(1000, status=Status.SUCCESS, place=Place.CONTESTED, back=Place.REFUND_DUE, word=Word.FAILED)
    state = apply(state._replace(word_at=now), Event(Kind.CONTEST_WITH_US, actor="anna"), now).state
    assert apply(state, Event(Kind.ORDERED, actor="anna"), now).refusal
    # The former answer is forgotten, so a poll counts although it began earlier.
    before = now - timedelta(seconds=1)
    state = apply(state, Event(Kind.WORD, said=Word.SUCCESSFUL, began=before, polled=True), now).state
    assert not apply(state, Event(Kind.ORDERED, actor="anna"), now).refusal


def test_the_operator_who_marked_a_payment_as_paid_may_order_its_payout_after_a_poll() -> None:
    now = timezone.now()
    state = apply(State(1000, request=Request.AMBIGUOUS), Event(Kind.SETTLED_PAID, actor="anna"), now).state
    state = apply(state, Event(Kind.HELD), now).state
    order = Event(Kind.ORDERED, actor="anna")
    assert apply(state, order, now).refusal
    state = apply(state, Event(Kind.WORD, said=Word.SUCCESSFUL, began=now, polled=True), now).state
    assert not apply(state, order, now).refusal


@pytest.mark.parametrize("requests", [0, 1])
@pytest.mark.parametrize(("word", "place"), [("Failed", "contested"), ("Successful", "refunded")])
def test_a_payout_waits_for_a_poll_although_the_clock_was_set_back(
    collection: Sandbox, settings: Any, requests: int, word: str, place: str
) -> None:
    """After the clock was set back, an earlier poll seems to have begun after the order.

    `requests`: the payout requests that DMarkPay has not accepted. Each such request orders the payout again.
    """
    payment, hour = paid_late(collection), timedelta(hours=1)
    settings.SMS_DELIVERY = "worker"
    for _ in range(requests):
        collection.faults(payout="429")
        order_payouts(ALL, "anna")
        services.work_once()
        collection.faults(payout="ok")
    truth(collection, payment, word)
    ALL.update(word_at=F("word_at") + hour, ok_at=F("ok_at") + hour)
    order_payouts(ALL, "anna")
    refund = Refund.objects.get()
    Refund.objects.update(start_at=timezone.now())
    assert refunds.pay_out_due() == 0
    assert asked(collection, "payout").get(refund.reference, 0) == requests
    later(payment, 60)
    services.work_once()
    assert fresh(payment).place == place


@pytest.mark.parametrize("word", ["Failed", "Reversed"])
def test_a_notification_whose_poll_got_no_answer_is_not_forgotten(collection: Sandbox, word: str) -> None:
    payment = paid(collection)
    truth(collection, payment, word)
    collection.faults(pay_status="500")
    notice(Client(), payment)
    assert fresh(payment).answer_owed_since is not None
    collection.faults(pay_status="ok")
    later(payment, 60)
    services.work_once()
    payment = fresh(payment)
    assert (payment.place, payment.answer_owed_since) == ("contested", None)


def test_a_notification_without_an_answer_for_a_day_is_the_operators(collection: Sandbox, caplog: Any) -> None:
    payment = paid(collection)
    collection.faults(pay_status="500")
    notice(Client(), payment)
    owed = fresh(payment).answer_owed_since
    assert owed is not None
    assert (ledger.figures().answers_owed, ledger.figures().unanswered) == (1, 0)
    ALL.update(answer_owed_since=owed - timedelta(days=1))
    later(payment, 86400)
    services.work_once()
    assert f"look it up at the provider as {payment.transaction_id}" in caplog.text
    assert payment.transaction_id in wording.to_do(fresh(payment), None, due=False)
    assert (ledger.figures().answers_owed, ledger.figures().unanswered) == (1, 1)
    # The payout is still polled, and the answer counts.
    collection.faults(pay_status="ok")
    truth(collection, payment, "Failed")
    later(payment, 86400)
    services.work_once()
    assert (fresh(payment).place, fresh(payment).answer_owed_since) == ("contested", None)
    assert ledger.figures().answers_owed == 0


def test_an_unknown_word_for_an_hour_is_the_operators(collection: Sandbox) -> None:
    payment = pay()
    truth(collection, payment, "Reversed")
    notice(Client(), payment)
    payment = fresh(payment)
    assert (payment.status, payment.word, ledger.figures().unknown_words) == ("PENDING", "other", 0)
    assert wording.to_do(payment, None, due=False) == ""
    assert payment.other_since is not None
    ALL.update(other_since=payment.other_since - timedelta(hours=1))
    assert ledger.figures().unknown_words == 1
    assert "mark it paid or not paid" in wording.to_do(fresh(payment), None, due=False)
    assert "Reversed" in PaymentEvent.objects.filter(kind="word").latest("pk").note
    truth(collection, payment, "Successful")
    notice(Client(), payment)
    assert (fresh(payment).status, ledger.figures().unknown_words) == ("SUCCESS", 0)


def test_an_unknown_word_on_which_an_operator_has_decided_is_not_shown_again(collection: Sandbox) -> None:
    payment = pay()
    truth(collection, payment, "Reversed")
    notice(Client(), payment)
    ALL.update(other_since=timezone.now() - timedelta(hours=1))
    matches.judge(payment.pk, Kind.SETTLED_PAID, actor="anna", note="seen in the portal")
    ALL.update(refund_due=True)
    assert record_by_hand(ALL, "ben", "cash")
    found = fresh(payment)
    assert (found.place, found.other_since is not None, ledger.figures().unknown_words) == ("refunded", True, 0)


def test_an_unknown_word_after_a_refund_is_the_operators(collection: Sandbox) -> None:
    payment = paid_late(collection)
    refund = order_payouts(ALL, "anna")[0]
    truth(collection, payment, "Reversed")
    notice(Client(), payment)
    assert ledger.figures().unknown_words == 1
    assert "taken back" in wording.to_do(fresh(payment), refund, due=False)
    matches.judge(payment.pk, Kind.CONTEST_GONE, actor="anna", note="statement")
    assert (fresh(payment).place, ledger.figures().unknown_words) == ("lost", 0)


def test_a_decline_that_turns_to_success_while_polls_get_no_answer(collection: Sandbox) -> None:
    payment = pay()
    truth(collection, payment, "Failed")
    notice(Client(), payment)
    assert fresh(payment).status == "FAILED"
    truth(collection, payment, "Successful")
    collection.faults(pay_status="500")
    notice(Client(), payment)
    assert fresh(payment).place == ""
    collection.faults(pay_status="ok")
    later(payment, 60)
    services.work_once()
    assert (fresh(payment).place, fresh(payment).contested) == ("refund_due", True)


def test_an_unknown_word_on_a_pending_payment_is_an_operators_after_an_hour(collection: Sandbox) -> None:
    payment = pay()
    truth(collection, payment, "Reversed")
    notice(Client(), payment)
    assert (fresh(payment).status, fresh(payment).word) == ("PENDING", "other")
    with pytest.raises(matches.Refused, match="still being polled"):
        matches.judge(payment.pk, Kind.SETTLED_UNPAID, actor="anna", note="in the portal")
    Payment.objects.update(other_since=F("other_since") - timedelta(hours=1), version=F("version") + 1)
    matches.judge(payment.pk, Kind.SETTLED_UNPAID, actor="anna", note="in the portal")
    assert fresh(payment).status == "FAILED"
    # The row was changed without the journal, so it must be adopted.
    Payment.objects.update(stale=True)
    assert journal.adopt() == 1


def test_a_reversal_between_order_and_payout_is_not_paid_out(collection: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    payment = paid_late_by_worker(collection, settings)
    refund = order_payouts(ALL, "anna")[0]
    truth(collection, payment, "Failed")
    services.work_once()
    refund.refresh_from_db()
    assert (fresh(payment).place, refund.state) == ("contested", "failed")
    assert collection.counts()["money"]["asked"]["payout"] == {}
    assert not order_payouts(ALL, "anna")


def paid_late_by_worker(collection: Sandbox, settings: Any) -> Payment:
    settings.SMS_DELIVERY = "inline"
    payment = paid_late(collection)
    settings.SMS_DELIVERY = "worker"
    return payment


def test_a_reversal_after_the_refund_is_lost_and_shown(collection: Sandbox) -> None:
    payment = paid_late(collection)
    assert order_payouts(ALL, "anna")[0].pk
    assert fresh(payment).place == "refunded"
    truth(collection, payment, "Failed")
    notice(Client(), payment)
    assert fresh(payment).place == "lost"
    assert ledger.balances()[Account.LOST] == 1000
    assert ledger.balances()[Account.PROVIDER] == -1000


def test_failed_successful_failed(collection: Sandbox) -> None:
    payment = paid_late(collection)
    truth(collection, payment, "Failed")
    notice(Client(), payment)
    assert fresh(payment).place == "contested"
    assert not order_payouts(ALL, "anna")


def test_an_id_that_is_wrong_does_not_hide_the_right_one(collection: Sandbox) -> None:
    """The ids from notifications are polled one after the other, newest first."""
    collection.faults(payin="taken_reset")
    payment = pay()
    collection.faults(payin="ok")
    right = collection.server.state.money.named(payment.transaction_id, "payin")[0].transaction_id
    collection.faults(pay_status="500")
    for known_by in (right, "123456", "999"):
        notice(Client(), payment, transaction_id=known_by)
    assert fresh(payment).provider_id == ""
    collection.faults(pay_status="ok")
    collection.server.state.money.transactions[right].status = "Successful"
    later(payment, 60)
    services.work_once()
    assert (fresh(payment).status, fresh(payment).provider_id) == ("SUCCESS", right)


def test_a_callback_about_a_payment_that_we_collect_only_causes_a_poll(collection: Sandbox, settings: Any) -> None:
    payment = pay()
    body = {
        "transaction_id": payment.transaction_id,
        "phone_number": PHONE,
        "amount": payment.amount,
        "status": "SUCCESS",
    }
    secret = {"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET}
    answer = Client().post("/api/v1/momo/callback", body, content_type="application/json", headers=secret)
    assert answer.status_code == 200
    payment = fresh(payment)
    assert (payment.status, payment.asks, payment.callbacks.get().applied) == ("PENDING", 1, False)


def test_references_that_dmarkpay_reads_are_18_digits(collection: Sandbox) -> None:
    paid_late(collection)
    order_payouts(ALL, "anna")
    bodies = [one["body"] for one in collection.requests() if one["path"].endswith(("/payin/", "/payout/"))]
    assert [bool(re.fullmatch(r"[0-9]{18}", body["sp_transaction_id"])) for body in bodies] == [True, True]


def test_nobody_settles_a_payment_that_is_still_polled(collection: Sandbox) -> None:
    payment = pay()
    with pytest.raises(matches.Refused, match="still being polled"):
        matches.judge(payment.pk, Kind.SETTLED_PAID, actor="anna", note="I think so")
    assert fresh(payment).status == "PENDING"
    assert payment.events.filter(kind="settled_paid").exclude(refused="").exists()


def test_who_settles_does_not_pay_out(collection: Sandbox, settings: Any) -> None:
    collection.faults(payin="taken_reset")
    payment = pay()
    matches.judge(payment.pk, Kind.SETTLED_PAID, actor="anna", note="seen in the portal")
    Payment.objects.filter(pk=payment.pk).update(refund_due=True)
    assert not record_by_hand(ALL, "anna", "cash")
    assert record_by_hand(ALL, "ben", "cash")


def test_a_payout_that_was_returned_is_payable_again(collection: Sandbox) -> None:
    payment = paid_late(collection)
    refund = order_payouts(ALL, "anna")[0]
    assert refunds.returned(refund.pk, "anna", "wrong number")
    found = fresh(payment)
    assert (found.place, found.refunded_at, found.collected_at) == ("refund_due", None, payment.collected_at)
    assert order_payouts(ALL, "anna")[0].pk != refund.pk
    assert fresh(payment).place == "refunded"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_returned_payout_goes_to_the_account_that_paid_it(collection: Sandbox, elsewhere: bool) -> None:
    refund = refunds.refund_by_hand(paid_late(collection).pk, "anna", "cash", elsewhere=elsewhere)
    account = Account.ELSEWHERE if elsewhere else Account.PROVIDER
    before = ledger.balances()
    assert refunds.returned(refund.pk, "anna", "wrong number")
    after = ledger.balances()
    moved = {account: 1000, Account.REFUND_DUE: 1000}
    assert {one: ugx - before[one] for one, ugx in after.items() if ugx != before[one]} == moved


def test_an_ambiguous_payout_with_an_id_is_polled(collection: Sandbox) -> None:
    collection.faults(payout_kind="pending")
    paid_late(collection)
    refund = order_payouts(ALL, "anna")[0]
    refund.refresh_from_db()
    assert (refund.state, bool(refund.provider_id)) == ("in_doubt", True)
    theirs = collection.server.state.money.transactions[refund.provider_id]
    theirs.status = "Successful"
    # An answer about another transaction settles nothing.
    for reference, state in (("another", "in_doubt"), (refund.reference, "succeeded")):
        theirs.sp_transaction_id = reference
        Refund.objects.update(start_at=F("ordered_at"))
        services.work_once()
        refund.refresh_from_db()
        assert refund.state == state


@pytest.mark.parametrize("ordered_again", [False, True])
def test_a_payout_marked_as_not_paid_out_is_polled_if_it_has_an_id(collection: Sandbox, ordered_again: bool) -> None:
    collection.faults(payout_kind="pending")
    payment = paid_late(collection)
    refund = order_payouts(ALL, "anna")[0]
    assert refunds.resolve(refund.pk, went_out=False, actor="boss", note="not in the portal")
    assert fresh(payment).place == "refund_due"
    if ordered_again:
        collection.faults(pay_status="500")
        assert len(order_payouts(ALL, "anna")) == 1
        collection.faults(pay_status="ok")
    refund.refresh_from_db()
    collection.server.state.money.transactions[refund.provider_id].status = "Successful"
    assert refunds.poll_ambiguous() == 1
    refund.refresh_from_db()
    assert (fresh(payment).place, refund.state, refund.start_at) == ("refunded", "succeeded", None)
    assert sorted(Refund.objects.values_list("state", flat=True)) == ["failed", "succeeded"][not ordered_again :]
    services.work_once()
    assert len(asked(collection, "payout")) == 1
    assert refunds.poll_ambiguous() == 0


def test_a_payout_that_the_provider_confirms_as_not_paid_out_is_polled_once(collection: Sandbox) -> None:
    collection.faults(payout_kind="pending")
    payment = paid_late(collection)
    refund = order_payouts(ALL, "anna")[0]
    assert refunds.resolve(refund.pk, went_out=False, actor="boss", note="not in the portal")
    refund.refresh_from_db()
    collection.server.state.money.transactions[refund.provider_id].status = "Failed"
    assert [refunds.poll_ambiguous() for _ in range(2)] == [1, 0]
    refund.refresh_from_db()
    assert (fresh(payment).place, refund.state) == ("refund_due", "failed")


def test_a_failure_before_the_result_of_the_request_keeps_its_reason(collection: Sandbox, settings: Any) -> None:
    payment = pay()
    asked_for = fresh(payment)
    Payment.objects.filter(pk=payment.pk).update(collection="asking", version=F("version") + 1)
    transaction = collection.server.state.money.transactions[payment.provider_id]
    transaction.status, transaction.message = "Failed", "Insufficient funds"
    notice(Client(), payment)
    failed = fresh(payment)
    assert failed.status == "FAILED"
    collecting._record(asked_for, Answer(Said.PENDING, payment.provider_id, payment.transaction_id, "Prompt sent."))
    assert (fresh(payment).status, fresh(payment).reason) == ("FAILED", failed.reason)
    assert failed.reason == "Insufficient funds"


def test_a_refund_by_payout_is_offered_only_if_a_provider_can_pay_it(collection: Sandbox, settings: Any) -> None:
    payment = paid_late(collection)
    assert actions.REFUND.able(ALL).get() == payment
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    assert not actions.REFUND.able(ALL)
    assert actions.BY_HAND.able(ALL).get() == payment


# --- matches


@pytest.fixture
def match(collection: Sandbox) -> tuple[int, int]:
    """Two payments in a match. This test has no entries, so it registers its own functions for the use of the money."""
    keys = []
    for phone in (PHONE, OTHER):
        payment = pay(phone)
        player = Player.objects.get_or_create(phone=phone)[0]
        Entry.objects.create(player=player, payment=payment, stake_amount=1000)
        truth(collection, payment, "Successful")
        notice(Client(), payment)
        keys.append(payment.pk)
    assert Session.objects.count() == 1
    return keys[0], keys[1]


def test_a_prize_is_confirmed_by_polls_and_paid(collection: Sandbox, match: tuple[int, int]) -> None:
    assert matches.record("session:1", match, "win", match[0], by="game server")
    assert not matches.record("session:1", match, "win", match[0], by="game server")
    with pytest.raises(matches.DifferentResult):
        matches.record("session:1", match, "draw", None, by="game server")
    result = MatchResult.objects.get()
    assert result.prize == "payable"
    refund = refunds.order_prize(result.pk, "anna")
    refund.refresh_from_db()
    result.refresh_from_db()
    assert (refund.state, refund.amount, result.prize) == ("succeeded", 2000, "paid")
    assert set(ALL.values_list("place", flat=True)) == {"prize_paid"}
    assert ledger.balances()[Account.PROVIDER] == 0


def test_a_prize_waits_if_a_share_was_taken_back(collection: Sandbox, match: tuple[int, int]) -> None:
    truth(collection, Payment.objects.get(pk=match[1]), "Failed")
    notice(Client(), Payment.objects.get(pk=match[1]))
    matches.record("session:1", match, "win", match[0], by="game server")
    result = MatchResult.objects.get()
    assert result.prize == "held"
    with pytest.raises(matches.Refused):
        refunds.order_prize(result.pk, "anna")
    assert end_contest(match[1])
    result.refresh_from_db()
    assert result.prize == "payable"


def test_a_draw_gives_both_stakes_back(collection: Sandbox, match: tuple[int, int]) -> None:
    matches.record("session:1", match, "draw", None, by="game server")
    assert set(ALL.values_list("place", flat=True)) == {"refund_due"}
    assert len(order_payouts(ALL, "anna")) == 2


def test_stakes_of_a_match_without_a_result_are_given_back(collection: Sandbox, match: tuple[int, int]) -> None:
    matches.give_back("session:1", match, by="anna", note="the game server was down")
    assert set(ALL.values_list("place", flat=True)) == {"refund_due"}


def test_money_that_was_taken_back_is_not_matched(collection: Sandbox) -> None:
    payment = pay()
    player = Player.objects.get_or_create(phone=PHONE)[0]
    entry = Entry.objects.create(player=player, payment=payment, stake_amount=1000)
    truth(collection, payment, "Successful")
    notice(Client(), payment)
    entry.refresh_from_db()
    assert entry.status == "queued"
    settle(payment.pk, Payment.Status.FAILED, by="asking")
    entry.refresh_from_db()
    assert (entry.status, entry.reason) == ("expired", "contested")
    assert not cancel(entry)
    assert announce_refunds()[0] == 0


def test_money_that_was_taken_back_is_not_matched_by_its_code(collection: Sandbox) -> None:
    creator = pay()
    player = Player.objects.get_or_create(phone=PHONE)[0]
    entry = Entry.objects.create(player=player, payment=creator, stake_amount=1000, match_code="ABCDEF")
    truth(collection, creator, "Successful")
    notice(Client(), creator)
    truth(collection, creator, "Failed")
    notice(Client(), creator)
    entry.refresh_from_db()
    assert (entry.status, entry.reason) == ("expired", "contested")
    joiner = pay(OTHER)
    friend = Player.objects.get_or_create(phone=OTHER)[0]
    Entry.objects.create(player=friend, payment=joiner, stake_amount=1000, joins_code="ABCDEF")
    truth(collection, joiner, "Successful")
    notice(Client(), joiner)
    assert not Session.objects.exists()
