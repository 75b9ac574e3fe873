"""The admin pages of payments: permissions, and actions that are confirmed, done once and logged."""

import re
import threading
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from payments import ledger, matches, refunds, status_polling
from payments.admin import actions, wording
from payments.models import Callback, Payment, Refund
from tests.payments.helpers import PHONE, asked, by_others, fresh, paid_late, pay, settle
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/payments/payment/"
PAY_OUT = "Pay it out now, or record a refund made another way."
SANDBOX: list[Sandbox] = []
REFUNDS = "/admin/payments/refund/"


@pytest.fixture(autouse=True)
def provider(collection: Sandbox) -> None:
    collection.faults(callback="never", hang_seconds=1.5)
    SANDBOX[:] = [collection]


def staff(*permissions: str) -> Client:
    """A staff user with only these permissions."""
    user = User.objects.create_user(f"user{User.objects.count()}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


VIEW = ("view_payment", "view_refund", "view_callback")


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def due(phone: str = PHONE) -> Payment:
    """A payment whose money arrived after the provider had reported FAILED."""
    payment = paid_late(SANDBOX[-1], phone)
    assert refunds.due().filter(pk=payment.pk).exists()
    return fresh(payment)


def act(client: Client, action: str, *rows: Any, path: str = LIST, **more: str) -> str:
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    answer = client.post(path, body, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_refund_is_confirmed_done_once_and_logged(operator: Client, collection: Sandbox) -> None:
    payment, other = due(), pay("+256701000002")
    page = act(operator, "refund", payment, other)
    assert "1 payment, 1,000 UGX in total." in page
    assert PHONE not in page
    assert not Refund.objects.exists()
    for _ in range(2):
        page = act(operator, "refund", payment, other, post="yes")
    assert "Nothing was done." in page
    refund = Refund.objects.get()
    assert (refund.state, refund.how, refund.actor, refund.amount) == ("succeeded", "payout", "operator", 1000)
    assert asked(collection, "payout") == {refund.reference: 1}
    payment = fresh(payment)
    assert payment.refunded_at is not None
    assert not payment.refund_due
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_id) == ("operator", str(payment.pk))
    assert "Refund by payout ordered" in entry.change_message


def test_by_hand_needs_a_note(operator: Client) -> None:
    payment = due()
    assert 'name="note"' in act(operator, "mark_refunded", payment)
    page = act(operator, "mark_refunded", payment, post="yes", note="  ")
    assert "Please answer the question." in page
    assert not Refund.objects.exists()
    act(operator, "mark_refunded", payment, post="yes", note="Airtel money, receipt 77\0")
    refund = Refund.objects.get()
    assert (refund.state, refund.how, refund.note) == ("succeeded", "by_hand", "Airtel money, receipt 77")
    assert "receipt 77" in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("refund", "refund_payment"),
        ("mark_refunded", "refund_payment"),
        ("settle_paid", "settle_payment"),
        ("settle_unpaid", "settle_payment"),
        ("end_contest", "settle_payment"),
    ],
)
def test_each_act_has_its_permission(action: str, permission: str) -> None:
    payment = due()
    looking = staff(*VIEW)
    act(looking, action, payment, post="yes", note="x")
    wrong = {"refund_payment": "settle_payment", "settle_payment": "refund_payment"}[permission]
    act(staff(*VIEW, wrong), action, payment, post="yes", note="x")
    assert not Refund.objects.exists()
    assert not LogEntry.objects.exists()
    page = staff(*VIEW, permission).get(LIST).content.decode()
    assert f'value="{action}"' in page
    assert f'value="{action}"' not in looking.get(LIST).content.decode()


def test_an_end_by_an_operator(operator: Client, collection: Sandbox) -> None:
    paid, unpaid = by_others(), by_others("+256701000002")
    act(operator, "settle_paid", paid, post="yes", note="seen in the portal")
    act(operator, "settle_unpaid", unpaid, post="yes", note="not in the portal")
    assert [(fresh(one).status, fresh(one).settled_by) for one in (paid, unpaid)] == [
        ("SUCCESS", "operator"),
        ("FAILED", "operator"),
    ]
    assert fresh(paid).reason == "seen in the portal"
    # The action does not apply to a payment with a final status.
    act(operator, "settle_unpaid", paid, post="yes", note="no")
    assert not fresh(paid).contested


def test_an_end_that_comes_while_an_operator_says_so_stands(collection: Sandbox) -> None:
    """The provider's answer arrived first. This is no contradiction."""
    payment = pay()
    looked_up = Payment.objects.all()
    assert len(looked_up) == 1  # The operator's page was loaded before the answer arrived.
    settle(payment.pk, Payment.Status.SUCCESS, by="asking")
    with pytest.raises(matches.Refused, match="It has a status"):
        actions.UNPAID.carry(looked_up[0], actions.Operator("anna", "not in the portal"), None)
    assert (fresh(payment).status, fresh(payment).contested) == ("SUCCESS", False)


def test_a_contest_is_ended(operator: Client) -> None:
    payment = pay()
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    page = operator.get(f"{LIST}{payment.pk}/change/").content.decode()
    assert "The provider reported success and then failure." in page
    act(operator, "end_contest", payment, post="yes", note="it is in the account")
    assert not fresh(payment).contested


@pytest.mark.parametrize(("action", "state"), [("went_out", "succeeded"), ("stayed", "failed")])
def test_a_payout_in_doubt_is_ended_by_hand(operator: Client, collection: Sandbox, action: str, state: str) -> None:
    collection.faults(payout="taken_reset")
    payment = due()
    act(operator, "refund", payment, post="yes")
    refund = Refund.objects.get()
    assert refund.state == "in_doubt"
    page = operator.get(f"{LIST}{payment.pk}/change/").content.decode()
    assert f"Look up the payout {refund.reference}" in page
    act(operator, action, refund, path=REFUNDS, post="yes", note="looked it up")
    refund.refresh_from_db()
    assert (refund.state, refund.resolved_by) == (state, "operator")
    assert (fresh(payment).refunded_at is not None) == (state == "succeeded")
    assert refunds.due().exists() == (state == "failed")
    # The payout was not repeated automatically. After an operator marked it as not paid out, it can be ordered again.
    assert asked(collection, "payout") == {refund.reference: 1}


def test_numbers_are_masked_but_for_who_may_see_them() -> None:
    payment = pay()
    masked, full = staff(*VIEW), staff(*VIEW, "view_full_phone")
    for path in (LIST, f"{LIST}{payment.pk}/change/"):
        page = masked.get(path).content.decode()
        assert PHONE not in page
        assert "0772 ••• 001" in page
        assert "0772 000 001" in full.get(path).content.decode()


@pytest.mark.parametrize(
    "term",
    ["0772000001", "772000001", "+256 772-000-001", "00256772000001", " 256772000001 ", "transaction", "provider"],
)
def test_any_notation_finds_it(operator: Client, term: str) -> None:
    payment, other = pay(), pay("+256701000002")
    term = {"transaction": payment.transaction_id, "provider": payment.provider_id}.get(term, term)
    page = operator.get(LIST, {"q": term}).content.decode()
    assert payment.transaction_id in page
    assert other.transaction_id not in page


@pytest.mark.parametrize("path", [LIST, REFUNDS, "/admin/payments/callback/"])
@pytest.mark.parametrize("name", ["q", "status__exact", "refund", "collection", "refused", "state__exact", "o", "p"])
def test_odd_queries_are_no_server_error(operator: Client, path: str, name: str) -> None:
    for value in ("\0", "x", "9" * 30):
        assert operator.get(path, {name: value}).status_code < 500


@pytest.mark.parametrize("refund", ["due", "under_way", "in_doubt", "failed", "done"])
@pytest.mark.parametrize("collection_state", ["", "asked", "in_doubt", "unresolved"])
def test_the_filters(operator: Client, refund: str, collection_state: str) -> None:
    payment = due()
    page = operator.get(
        LIST, {"refund": refund, "collection": collection_state} if collection_state else {"refund": refund}
    )
    assert page.status_code == 200
    assert (payment.transaction_id in page.content.decode()) == (refund == "due" and not collection_state)


def test_the_filter_by_payment_uses_the_words_of_the_list(operator: Client) -> None:
    payment = due()
    page = operator.get(LIST, {"status": "FAILED"}).content.decode()
    links = re.findall(r'<a href="\?([^"]*)"[^>]*>\s*(not paid yet|paid|not paid)\s*</a>', page)
    assert links == [("status=PENDING", "not paid yet"), ("status=SUCCESS", "paid"), ("status=FAILED", "not paid")]
    shows = {status: payment.transaction_id in operator.get(f"{LIST}?{status}").content.decode() for status, _ in links}
    assert shows == {f"status={status}": status == payment.status for status in ("PENDING", "SUCCESS", "FAILED")}


def test_the_page_of_one_tells_its_story(operator: Client, collection: Sandbox) -> None:
    collection.faults(payin="html")
    payment = pay()
    page = operator.get(f"{LIST}{payment.pk}/change/").content.decode()
    assert "if the player was asked: we sent the request but got no reply" in page
    assert f"look up {payment.transaction_id} in the DMarkPay portal" in page
    assert "Something other than DMarkPay answered" in page


def test_a_refund_page_names_the_payee_and_leads_back(operator: Client, collection: Sandbox) -> None:
    payment = due()
    back = "/admin/find/?q=0772000001"
    page = act(operator, "mark_refunded", payment, next=back)
    assert "0772 000 001: <b>1,000 UGX</b>" in page
    assert "1,000 UGX is due back to the player." in page
    assert f'name="next" value="{back}"' in page
    fields = {"action": "mark_refunded", "_selected_action": [payment.pk], "post": "yes", "note": "cash"}
    answer = operator.post(LIST, {**fields, "next": back})
    assert (answer.status_code, answer["Location"]) == (302, back)
    assert fresh(payment).refunded_at is not None
    # The second time, the page says why nothing was done. The redirect never leads to another host.
    page = act(operator, "mark_refunded", payment, next="https://evil.example/")
    assert "None of the selected payments is due a refund." in page
    assert "evil.example" not in page


def test_callback_bodies_hide_numbers_and_are_searched_by_ids_only(operator: Client) -> None:
    payment = pay()
    body = f'{{"phone_number": "256772000001", "transaction_id": "{payment.transaction_id}"}}'
    callback = Callback.objects.create(payment=payment, body=body, refusal="The amount differs.", answered=409)
    path = "/admin/payments/callback/"
    masked, full = staff(*VIEW), staff(*VIEW, "view_full_phone")
    for place in (f"{path}{callback.pk}/change/", f"{LIST}{payment.pk}/change/"):
        page = masked.get(place).content.decode()
        assert "256772000001" not in page
        assert "25677****001" in page
        assert "256772000001" in full.get(place).content.decode()
    listed = operator.get(path, {"q": payment.transaction_id}).context["cl"].result_list
    assert [row.pk for row in listed] == [callback.pk]
    assert not operator.get(path, {"q": "phone_number"}).context["cl"].result_list


def test_a_rejected_callback_is_marked_as_seen(operator: Client) -> None:
    callback = Callback.objects.create(body="{", refusal="It is not JSON.", answered=400)
    assert ledger.figures().unreadable == 1
    act(operator, "mark_seen", callback, path="/admin/payments/callback/")
    callback.refresh_from_db()
    assert (callback.seen_by, callback.seen_at is not None) == ("operator", True)
    assert ledger.figures().unreadable == 0


def test_each_money_list_has_a_csv(operator: Client, collection: Sandbox) -> None:
    payment = due()
    act(operator, "mark_refunded", payment, post="yes", note="=cash")
    for model, expected in (("payment", payment.transaction_id), ("refund", "'=cash"), ("ledgerentry", "refund")):
        answer: Any = operator.get(f"/admin/payments/{model}/export/")
        assert answer.status_code == 200, model
        lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
        assert len(lines) >= 2, model
        assert expected in "\n".join(lines[1:]), model
        assert PHONE not in "\n".join(lines)
        assert 'href="export/"' in operator.get(f"/admin/payments/{model}/").content.decode()
    assert operator.get(f"{LIST}export/?phone__startswith=%2B").status_code == 400


# --- the provider's ID, and what is done to several payments


@pytest.fixture
def unknown(collection: Sandbox) -> Payment:
    """A payment whose request was sent, but the response with the provider's id was lost."""
    collection.faults(payin="taken_reset")
    payment = pay()
    collection.faults(payin="ok")
    assert (payment.collection, payment.provider_id) == ("in_doubt", "")
    return payment


def id_at_provider(collection: Sandbox, payment: Payment) -> str:
    return str(collection.server.state.money.named(payment.transaction_id, "payin")[0].transaction_id)


def test_a_payment_marked_as_paid_is_confirmed_by_its_id(
    operator: Client, collection: Sandbox, unknown: Payment
) -> None:
    assert 'name="provider_id"' in act(operator, "settle_paid", unknown)
    collection.tap(unknown.transaction_id, "pay")
    known_by = id_at_provider(collection, unknown)
    act(operator, "settle_paid", unknown, post="yes", note="in the portal", provider_id=f" {known_by} ")
    payment = fresh(unknown)
    assert (payment.status, payment.provider_id, payment.word) == ("SUCCESS", known_by, "successful")
    # A poll has confirmed the payment, so no second operator is needed. The journal stores the operator's name.
    assert (payment.settled_by, payment.settled_by_name) == ("operator", "")
    assert payment.events.get(kind="word").actor == "operator"


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("declined", "The provider says that this payment failed."),
        ("pending", "The provider says that this payment is still pending."),
        ("unknown", "The provider knows no transaction with this ID."),
        ("another", "The provider says that this ID belongs to another transaction."),
        ("down", "The ID could not be checked"),
        ("off", "No provider that is set up can check this ID."),
    ],
)
def test_a_payment_that_the_provider_denies_is_not_marked_as_paid(
    operator: Client, collection: Sandbox, unknown: Payment, settings: Any, case: str, sentence: str
) -> None:
    known_by = "12345" if case == "unknown" else id_at_provider(collection, unknown)
    if case == "declined":
        collection.tap(unknown.transaction_id, "decline")
    if case == "another":
        rich = pay("+256701000009")
        collection.tap(rich.transaction_id, "pay")
        known_by = rich.provider_id
    if case == "down":
        collection.faults(pay_status="500")
    if case == "off":
        settings.DMARK_PAY_ACCOUNT_CODE = ""
    page = act(operator, "settle_paid", unknown, post="yes", note="in the portal", provider_id=known_by)
    assert sentence.replace("'", "&#x27;") in page
    assert "Marked as paid" not in page
    payment = fresh(unknown)
    assert (payment.status, payment.provider_id) == ("PENDING", "")
    refused = payment.events.exclude(refused="").get()
    assert (refused.actor, refused.refused.startswith(sentence)) == ("operator", True)
    assert not LogEntry.objects.exists()


def test_a_payment_that_gets_another_answer_meanwhile_is_not_reported_as_marked(
    operator: Client, collection: Sandbox, unknown: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.tap(unknown.transaction_id, "pay")
    look_up = status_polling.confirm

    def overtaken(*arguments: Any, **more: Any) -> Any:
        found = look_up(*arguments, **more)
        settle(unknown.pk, Payment.Status.FAILED, by="asking")
        return found

    monkeypatch.setattr(status_polling, "confirm", overtaken)
    known_by = id_at_provider(collection, unknown)
    page = act(operator, "settle_paid", unknown, post="yes", note="in the portal", provider_id=known_by)
    assert "Marked as paid" not in page
    assert "in the meantime the provider gave another one" in page
    # The later answer counts: the payment failed. Both answers are in the journal.
    assert fresh(unknown).status == "FAILED"
    assert not LogEntry.objects.exists()


def test_rows_that_an_action_has_no_time_for_are_named(
    operator: Client, collection: Sandbox, unknown: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "_SECONDS", -1.0)
    page = act(operator, "settle_paid", unknown, post="yes", note="in the portal")
    assert "The other payments took too long. Try again." in page
    assert fresh(unknown).status == "PENDING"


def test_an_id_that_we_have_is_checked_although_none_is_typed(operator: Client, collection: Sandbox) -> None:
    payment = pay()
    Payment.objects.filter(pk=payment.pk).update(collection="unresolved")
    assert "still pending" in act(operator, "settle_paid", payment, post="yes", note="I think so")
    # Without a clear answer of the provider, the operator's decision counts and is listed separately.
    collection.faults(pay_status="500")
    act(operator, "settle_paid", payment, post="yes", note="in the portal")
    assert (fresh(payment).status, fresh(payment).settled_by_name) == ("SUCCESS", "operator")


def test_an_id_is_that_of_one_payment(operator: Client) -> None:
    rows = [pay(), pay("+256701000002")]
    assert 'name="provider_id"' not in act(operator, "settle_paid", *rows)
    page = act(operator, "settle_paid", *rows, post="yes", note="x", provider_id="1")
    assert "Select only one payment" in page
    assert [fresh(row).status for row in rows] == ["PENDING"] * 2


def test_an_action_and_its_log_are_one_transaction(
    operator: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """If the log entry cannot be written, the payment is not settled either."""
    payment = by_others()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no log")

    monkeypatch.setattr("django.contrib.admin.ModelAdmin.log_change", fail)
    with pytest.raises(RuntimeError):
        act(operator, "settle_paid", payment, post="yes", note="in the portal")
    assert fresh(payment).status == "PENDING"
    assert not payment.events.filter(kind="settled_paid").exists()


def test_a_refusal_is_shown_with_its_payment(operator: Client) -> None:
    """The other selected payments are settled, each with an event and a log entry."""
    others, ours = by_others(), pay("+256701000002")
    page = act(operator, "settle_unpaid", others, ours, post="yes", note="not in the portal")
    assert "Marked as not paid: 1." in page
    assert f"Not done: Payment {ours.pk} of 1,000 UGX. The provider is still being polled." in page
    assert [fresh(row).status for row in (others, ours)] == ["FAILED", "PENDING"]
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(others.pk)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs row locks")
def test_a_locked_payment_holds_up_no_other(operator: Client) -> None:
    rows = [by_others(f"+25677200001{number}") for number in range(4)]
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Payment.objects.select_for_update().get(pk=rows[1].pk)
            locked.set()
            release.wait(30)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert locked.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '500ms'")  # The site's processes use the same lock timeout.
        page = act(operator, "settle_paid", *rows, post="yes", note="in the portal")
    finally:
        release.set()
        thread.join()
        connection.close()
    assert "Marked as paid: 3." in page
    assert f"Not done: Payment {rows[1].pk} of 1,000 UGX. Another process is changing it." in page
    assert [fresh(row).status for row in rows] == ["SUCCESS", "PENDING", "SUCCESS", "SUCCESS"]
    assert LogEntry.objects.count() == 3


def test_the_journal_keeps_the_name_of_a_deleted_operator(operator: Client) -> None:
    payment = by_others()
    act(operator, "settle_paid", payment, post="yes", note="in the portal")
    User.objects.all().delete()
    assert not LogEntry.objects.exists()
    event = payment.events.get(kind="settled_paid")
    assert (event.actor, event.note) == ("operator", "in the portal")


@pytest.mark.parametrize(
    ("place", "refund", "said"),
    [
        ("prize", None, "The match is decided, and the prize is not paid yet."),
        ("prize_paid", "succeeded", "The match is decided, and the prize was paid."),
        ("lost", "succeeded", "The money was paid out, and then the provider took it back."),
        ("", None, "The provider took the money back."),
        ("refund_due", "returned", "1,000 UGX is due back to the player. A refund came back."),
    ],
)
def test_where_the_money_ended_is_said(place: str, refund: str | None, said: str) -> None:
    now = timezone.now()
    payment = Payment(phone=PHONE, amount=1000, status="SUCCESS", collected_at=now, version=3, place=place)
    latest = Refund(payment=payment, amount=1000, state=refund) if refund else None
    due = place == "refund_due"
    assert said in wording.meaning(payment, latest, due)
    assert wording.to_do(payment, latest, due) == (PAY_OUT if due else "")


def test_a_refund_that_came_back_is_refunded_again(operator: Client, collection: Sandbox) -> None:
    payment = due()
    act(operator, "mark_refunded", payment, post="yes", note="cash")
    act(operator, "payout_returned", Refund.objects.get(), path=REFUNDS, post="yes", note="the player did not come")
    page = operator.get("/admin/find/", {"q": payment.phone}).content.decode()
    assert "A refund came back." in page
    assert "Record a manual refund…" in page


def test_money_that_the_provider_took_back_is_recorded(operator: Client) -> None:
    payment = pay()
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    page = operator.get("/admin/find/", {"q": payment.phone}).content.decode()
    assert "The provider took the money back…" in page
    assert "Record a manual refund…" not in page
    act(operator, "contest_gone", payment, post="yes", note="not on the statement")
    assert "taken back by the provider" in operator.get(LIST).content.decode()
