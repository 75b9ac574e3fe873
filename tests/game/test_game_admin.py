"""The admin of the game and the payments: every page opens, and no row of the game can be edited."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from game.models import Entry, GameWorker, Session
from payments.models import Callback, MatchResult, Payment, ProviderDebit, Refund
from tests.game_helpers import ALICE, BOB, CAROL, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)

MODELS = [model for model in admin.site._registry if model._meta.app_label in ("game", "payments")]


@pytest.fixture
def operator(client: Client, settings: Any) -> Client:
    """Logged in, with a match, a waiting private match, and a payment due for refund."""
    stake(client, ALICE, display_name="<script>alert(1)</script>")
    stake(client, BOB)
    settings.MOMO_AUTO_APPROVE = False
    old, new = stake(client, CAROL), stake(client, CAROL, 2000, create_private=True)
    paid(client, new, CAROL)
    paid(client, old, CAROL)
    GameWorker.objects.create(key="k", name="host:1")
    ProviderDebit.objects.create(account="fees", amount=5, actor="somebody", note="statement")
    played = Payment.objects.get(transaction_id=new["transaction_id"])
    Refund.objects.create(payment=played, amount=2000, how="payout", state="failed", actor="somebody")
    first = Payment.objects.get(transaction_id=old["transaction_id"])
    about = {"outcome": "void", "recorded_by": "somebody", "recorded_at": timezone.now()}
    MatchResult.objects.create(key="session:0", first=first, second=played, **about)
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def test_every_model_is_there() -> None:
    assert {model.__name__ for model in MODELS} == {
        "Player",
        "StakeLevel",
        "Entry",
        "Session",
        "GameWorker",
        "Payment",
        "Callback",
        "Refund",
        "LedgerEntry",
        "PaymentEvent",
        "MatchResult",
        "ProviderDebit",
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_page_opens(operator: Client, model: Any, django_assert_max_num_queries: Any) -> None:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    with django_assert_max_num_queries(9):
        page = operator.get(base)
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert operator.get(base, {"q": "0772"}).status_code in (200, 302)
    page = operator.get(f"{base}{model.objects.first().pk}/change/")
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert operator.get(f"{base}{model.objects.first().pk}/delete/").status_code == 403
    assert operator.get(f"{base}add/").status_code == (200 if model is ProviderDebit else 403)


def test_nothing_is_edited_by_hand(operator: Client) -> None:
    entry, payment = Entry.objects.filter(status="queued").get(), Payment.objects.filter(refund_due=True).get()
    assert operator.post(f"/admin/game/entry/{entry.pk}/change/", {"status": "matched"}).status_code == 403
    operator.post(
        f"/admin/payments/payment/{payment.pk}/change/",
        {"status": "FAILED", "amount": "5", "callbacks-TOTAL_FORMS": "0", "callbacks-INITIAL_FORMS": "0"},
    )
    payment.refresh_from_db()
    assert (payment.status, payment.amount, payment.refund_due) == ("SUCCESS", 1000, True)


def test_the_refunds_are_one_filter_and_one_act_away(operator: Client) -> None:
    due = Payment.objects.get(refund_due=True)
    page = operator.get("/admin/payments/payment/", {"refund": "due"}).content.decode()
    assert due.transaction_id in page
    assert page.count("action-checkbox") == 2  # The checkbox of the one row, and the checkbox for all rows.
    others = list(Payment.objects.exclude(pk=due.pk).values_list("pk", flat=True))
    act = {"action": "mark_refunded", "_selected_action": [str(due.pk), *map(str, others)]}
    operator.post("/admin/payments/payment/", act)
    assert not Payment.objects.exclude(refunded_at=None).exists()  # Without a confirmation nothing is done.
    operator.post("/admin/payments/payment/", {**act, "post": "yes", "note": "in cash"})
    due.refresh_from_db()
    assert not due.refund_due
    assert due.refunded_at
    # A selected payment that is not due for refund is not changed.
    assert Payment.objects.filter(refunded_at=None).count() == len(others)


def test_staff_without_the_permission_sees_nothing(operator: Client) -> None:
    client = Client()
    client.force_login(User.objects.create_user("guest", password="x", is_staff=True))
    for model in MODELS:
        assert client.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/").status_code == 403


def test_names_of_rows_hold_no_secret(operator: Client) -> None:
    for row in (*Entry.objects.all(), *Session.objects.all(), *Payment.objects.all(), *Callback.objects.all()):
        for secret in ("772000", getattr(row, "token", "-"), getattr(row, "match_code", None) or "-"):
            assert secret == "-" or secret not in str(row)
