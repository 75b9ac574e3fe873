"""The access of the operator's pages to `payments`: the meaning of a payment's state, and the possible actions."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from payments import providers, refunds, wording
from payments.models import MatchResult, Payment, Refund


class Action(NamedTuple):
    """A button that opens the confirmation page of an admin action.

    `url`: the admin list that has the action. `action`: name of the admin action. `pk`: primary key of the row.
    """

    label: str
    url: str
    action: str
    pk: int


class MoneyState(NamedTuple):
    """The state of a payment.

    `meaning`: the state in one sentence. `to_do`: the operator's next step, or "". `actions`: possible actions.
    """

    meaning: str
    to_do: str
    actions: list[Action]


def of_phone(phone: str, most: int) -> list[Payment]:
    """Return at most `most` of the newest payments of a phone, with their related rows prefetched."""
    rows = Payment.objects.filter(phone=phone).order_by("-pk")
    return list(rows.prefetch_related("callbacks", "refunds", "exchanges", "events")[:most])


def refund_due(payments: Iterable[Payment]) -> set[int]:
    """Return the ids of those `payments` that are to be refunded now."""
    ids = [payment.pk for payment in payments]
    return set(refunds.due().filter(pk__in=ids).values_list("pk", flat=True))


def results(payments: Iterable[int]) -> dict[int, str]:
    """Return how the match of each payment ended: won, lost, draw or void. Payments without a result are left out."""
    ids = set(payments)
    found = {}
    for result in MatchResult.objects.filter(Q(first__in=ids) | Q(second__in=ids)) if ids else ():
        for pk in (result.first_id, result.second_id):
            won = result.outcome == MatchResult.Outcome.WIN
            found[pk] = ("won" if result.winner_id == pk else "lost") if won else result.outcome
    return found


def state(request: HttpRequest, payment: Payment, due: bool, result: str) -> MoneyState:
    refund: Refund | None = next(iter(payment.refunds.all()), None)
    return MoneyState(
        wording.meaning(payment, refund, due, result),
        wording.to_do(payment, refund, due),
        list(_actions(request, payment, refund, due)),
    )


def is_paid(payment: Payment) -> bool:
    """Return True if the payment succeeded and was not refunded."""
    return payment.status == Payment.Status.SUCCESS and payment.refunded_at is None


def _actions(request: HttpRequest, payment: Payment, refund: Refund | None, due: bool) -> Iterator[Action]:
    url, may = reverse("admin:payments_payment_changelist"), request.user.has_perm
    taken_back = payment.contested and payment.status == Payment.Status.SUCCESS
    over = wording.is_over(refund)
    if may("payments.refund_payment"):
        if over and due:
            if providers.current() is not None:
                yield Action("Refund by payout…", url, "refund", payment.pk)
            yield Action("Record a manual refund…", url, "mark_refunded", payment.pk)
        elif refund is not None and refund.state == Refund.State.IN_DOUBT:
            payouts = reverse("admin:payments_refund_changelist")
            yield Action("It was paid out…", payouts, "went_out", refund.pk)
            yield Action("It was not paid out…", payouts, "stayed", refund.pk)
    if may("payments.settle_payment"):
        if taken_back:
            yield Action("Close dispute: payment received…", url, "end_contest", payment.pk)
            yield Action("The provider took the money back…", url, "contest_gone", payment.pk)
        if payment.collection in (Payment.Collection.IN_DOUBT, Payment.Collection.UNRESOLVED):
            yield Action("Mark as paid…", url, "settle_paid", payment.pk)
            yield Action("Mark as not paid…", url, "settle_unpaid", payment.pk)
