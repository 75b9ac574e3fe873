"""What an operator can do about payments, each by a page that says what it will do, and a confirmed POST."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from payments import refunds, settlement
from payments.models import Payment, Refund
from payments.states import Kind

# So many at once: each has a lock and a log entry of its own.
AT_ONCE = 500
LONGEST_NOTE = 300


class Act(NamedTuple):
    """`able`: those that it can be done to; `carry` does it, given the actor and the note, and returns to which."""

    action: str
    title: str
    button: str
    about: str
    able: "Callable[[QuerySet[Any]], QuerySet[Any]]"
    carry: "Callable[[QuerySet[Any], str, str], Sequence[Any]]"
    logged: str
    needs_note: bool = False


def _payouts(payments: "QuerySet[Payment]", actor: str, note: str) -> list[Payment]:
    return [refund.payment for refund in refunds.order_payouts(payments, actor)]


def _by_hand(payments: "QuerySet[Payment]", actor: str, note: str) -> list[Payment]:
    return [refund.payment for refund in refunds.record_by_hand(payments, actor, note)]


def _judged(kind: Kind) -> "Callable[[QuerySet[Payment], str, str], list[Payment]]":
    def carry(payments: "QuerySet[Payment]", actor: str, note: str) -> list[Payment]:
        done = []
        for key in payments.values_list("pk", flat=True):
            with suppress(settlement.Refused):
                done.append(settlement.judge(key, kind, actor=actor, note=note))
        return done

    return carry


def _resolved(went_out: bool) -> "Callable[[QuerySet[Refund], str, str], list[Refund]]":
    def carry(payouts: "QuerySet[Refund]", actor: str, note: str) -> list[Refund]:
        return [refund for refund in payouts if refunds.resolve(refund.pk, went_out=went_out, actor=actor, note=note)]

    return carry


def _open(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    return payments.filter(status=Payment.Status.PENDING)


def _in_doubt(refunds: "QuerySet[Refund]") -> "QuerySet[Refund]":
    return refunds.filter(state=Refund.State.IN_DOUBT)


REFUND = Act(
    "refund",
    "Refund by payout",
    "Pay it back",
    "The money goes to the number that paid. Those that are not due, or whose refund is under way or in doubt, are "
    "left out; whoever orders it a second time orders nothing.",
    lambda payments: payments.filter(pk__in=refunds.due().values("pk")),
    _payouts,
    "Refund by payout ordered.",
)
BY_HAND = Act(
    "mark_refunded",
    "Record as given back by hand",
    "It went back",
    "Nothing is paid out. The payer is texted that the money was refunded, so record it only once it was.",
    lambda payments: payments.filter(pk__in=refunds.due().values("pk")),
    _by_hand,
    "Recorded as given back by hand",
    needs_note=True,
)
PAID = Act(
    "settle_paid",
    "Say that it was paid",
    "It was paid",
    "For payments without an end, as you found them at the provider. The player is texted and plays, or the money is "
    "due back.",
    _open,
    _judged(Kind.SETTLED_PAID),
    "Said to be paid",
    needs_note=True,
)
UNPAID = Act(
    "settle_unpaid",
    "Say that it was not paid",
    "It was not paid",
    "For payments without an end, as you found them at the provider. The player is texted that the payment failed.",
    _open,
    _judged(Kind.SETTLED_UNPAID),
    "Said not to be paid",
    needs_note=True,
)
END_CONTEST = Act(
    "end_contest",
    "End the contest: the money is with us",
    "The money is with us",
    "For payments that the provider took back, as it said, when the money is in the account after all.",
    lambda payments: payments.filter(place="contested"),
    _judged(Kind.CONTEST_WITH_US),
    "Contest ended: the money is with us",
    needs_note=True,
)
WENT_OUT = Act(
    "went_out",
    "Say that it was paid out",
    "It was paid out",
    "For payouts in doubt, as you found them at the provider. The payer is texted that the money was refunded.",
    _in_doubt,
    _resolved(True),
    "Doubt ended: it was paid out",
    needs_note=True,
)
STAYED = Act(
    "stayed",
    "Say that it was not paid out",
    "It was not paid out",
    "For payouts in doubt, as you found them at the provider. The money is due back again, and can be refunded anew.",
    _in_doubt,
    _resolved(False),
    "Doubt ended: it was not paid out",
    needs_note=True,
)


def confirmed(
    act: Act, model_admin: "ModelAdmin[Any]", request: HttpRequest, queryset: "QuerySet[Any]"
) -> HttpResponse | None:
    """The page that asks, then the act itself."""
    able, note = act.able(queryset), request.POST.get("note", "").replace("\0", "").strip()[:LONGEST_NOTE]
    wants_note = act.needs_note and not note
    if "post" not in request.POST or wants_note:  # the field by which Django confirms its own delete action
        return _page(act, model_admin, request, queryset, able, wants_note and "post" in request.POST)
    done = act.carry(able[:AT_ONCE], request.user.get_username(), note)
    for one in done:
        model_admin.log_change(request, one, f"{act.logged}: {note}" if note else act.logged)
    if done:
        model_admin.message_user(request, f"{act.title}: {len(done)} done.", messages.SUCCESS)
    else:
        model_admin.message_user(request, "Nothing to do: it was done already, or is over.", messages.WARNING)
    return None


def _page(
    act: Act,
    model_admin: "ModelAdmin[Any]",
    request: HttpRequest,
    queryset: "QuerySet[Any]",
    able: "QuerySet[Any]",
    wants_note: bool,
) -> HttpResponse:
    count = able.count()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": act.title,
        "opts": model_admin.model._meta,
        "act": act,
        "selected": queryset.count(),
        "able": min(count, AT_ONCE),
        "too_many": count > AT_ONCE,
        "sum": able.aggregate(sum=Sum("amount"))["sum"] or 0,
        "ids": list(able.order_by("pk").values_list("pk", flat=True)[:AT_ONCE]),
        "sample": able.order_by("pk")[:10],
        "wants_note": wants_note,
        "longest_note": LONGEST_NOTE,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/payments/confirm.html", context)
