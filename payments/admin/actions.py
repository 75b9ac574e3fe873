"""Operators' actions in the admin on payments, payouts and match results.

Each action must be confirmed on a page of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import OperationalError, connection
from django.db.models import Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme

from payments import journal, matches, phones, providers, refunds, status_polling
from payments.admin import wording
from payments.database import sqlstate
from payments.matches import Refused
from payments.models import MatchResult, Payment, Refund
from payments.rules.states import Kind

# Maximum number of rows for one action, because each row is locked and logged separately.
AT_ONCE = 500
LONGEST_NOTE = 300
# After this many seconds, an action starts no further row. A single row can wait for the provider's response.
_SECONDS = 20.0
_OUT_OF_TIME = "The other payments took too long. Try again."
# Maximum number of refused rows that are listed one by one after an action.
_SHOWN = 10
# SQLSTATEs of errors that can occur if another transaction is changing the row: lock timeout, canceled statement,
# serialization failure, deadlock.
_BUSY = ("55P03", "57014", "40001", "40P01")


class Operator(NamedTuple):
    """The operator who confirms an action, and the values entered on the confirmation page."""

    name: str  # The user name.
    note: str = ""  # The answer to the action's question.
    provider_id: str = ""  # The payment's id in the provider's portal.
    elsewhere: bool = False  # True if the money was not paid from our account at the provider.


@dataclass(frozen=True)
class Action:
    """An admin action on selected rows, with a confirmation page. Used in `ModelAdmin.actions`."""

    name: str
    title: str
    button: str
    about: str
    none: str  # The message if the action applies to none of the selected rows.
    able: "Callable[[QuerySet[Any]], QuerySet[Any]]"  # Filters the rows to which the action applies.
    carry: Callable[[Any, Operator, Any], object]  # Handles one row, given the result of `check`. May raise Refused.
    logged: str
    note: str = ""  # The label of the required note, or "" if the page asks for no note.
    check: Callable[[Any, Operator], Any] = lambda _row, _operator: None  # Called before a row's transaction.
    asks_id: bool = False  # True if the page also asks for the payment's id at the provider.
    asks_account: bool = False  # True if the page also asks from which account the money was paid.
    permission: str = "refund"  # The permission that the action needs: "refund" or "settle".

    # Django's admin reads the three properties below. `do_not_call_in_templates` keeps Django's templates from calling
    # an action.

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def short_description(self) -> str:
        return self.title

    @property
    def allowed_permissions(self) -> tuple[str]:
        return (self.permission,)

    do_not_call_in_templates = True

    def __call__(
        self, model_admin: "ModelAdmin[Any]", request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> HttpResponse | None:
        """Show the confirmation page, or carry out the action if that page was submitted."""
        able, note = self.able(queryset), _answer(request, "note")
        note_missing = bool(self.note) and not note
        # The field `post` marks a confirmed form, as in Django's own delete action.
        if "post" not in request.POST or note_missing:
            return _page(self, model_admin, request, queryset, able, note_missing and "post" in request.POST)
        elsewhere = _answer(request, "paid_from") == "elsewhere"
        operator = Operator(request.user.get_username(), note, _answer(request, "provider_id"), elsewhere)
        rows = list(able[:AT_ONCE])
        if operator.provider_id and len(rows) > 1:
            sentence = "Nothing was done. Select only one payment, because an ID belongs to one payment."
            model_admin.message_user(request, sentence, messages.ERROR)
            return None
        _report(self, model_admin, request, rows, _carry_all(self, model_admin, request, rows, operator))
        back = _next(request)
        return HttpResponseRedirect(back) if back else None


def _judged(kind: Kind) -> Callable[[Payment, Operator, Any], object]:
    return lambda payment, by, _found: matches.judge(payment.pk, kind, actor=by.name, note=by.note)


_KNOWN = "Its outcome is known already."


def _each(action: Callable[[int, str, str], bool], otherwise: str) -> Callable[[Refund, Operator, Any], object]:
    def carry(payout: Refund, by: Operator, _found: Any) -> None:
        if not action(payout.pk, by.name, by.note):
            raise Refused(otherwise)

    return carry


def _open(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    return payments.filter(status=Payment.Status.PENDING)


def _payable(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    names = [provider.name for provider in providers.configured()]
    return payments.filter(pk__in=refunds.due().values("pk"), provider__in=names)


def _in_doubt(refunds: "QuerySet[Refund]") -> "QuerySet[Refund]":
    return refunds.filter(state=Refund.State.IN_DOUBT)


REFUND = Action(
    "refund",
    "Refund by payout",
    "Refund",
    "The money goes back to the paying number. Payments that are not due, or already being refunded, are skipped; "
    "clicking twice does not pay twice.",
    "None of the selected payments is due a refund that a provider can pay out. Others are refunded by hand.",
    _payable,
    lambda payment, by, _found: refunds.order_refund(payment.pk, by.name),
    "Refund by payout ordered",
)
BY_HAND = Action(
    "mark_refunded",
    "Record a manual refund",
    "Record refund",
    "Nothing is paid out. The player receives a text that the money was refunded, so record it only once it was.",
    "None of the selected payments is due a refund.",
    lambda payments: payments.filter(pk__in=refunds.due().values("pk")),
    lambda payment, by, _found: refunds.refund_by_hand(payment.pk, by.name, by.note, elsewhere=by.elsewhere),
    "Manual refund recorded",
    note="How was it refunded? (receipt number, channel)",
    asks_account=True,
)
PAID = Action(
    "settle_paid",
    "Mark as paid",
    "Mark as paid",
    "Use this when the DMarkPay portal shows that the player has paid. The player receives a text and plays, or the "
    "money is due back.",
    "All of the selected payments have a final status already.",
    _open,
    lambda payment, by, found: status_polling.mark_paid(payment.pk, found, actor=by.name, note=by.note),
    "Marked as paid",
    note="How do you know? (for example the portal's reference)",
    check=lambda payment, by: status_polling.confirm(payment, by.provider_id, actor=by.name, note=by.note),
    asks_id=True,
    permission="settle",
)
UNPAID = Action(
    "settle_unpaid",
    "Mark as not paid",
    "Mark as not paid",
    "Use this when the DMarkPay portal shows that the player has not paid. The player receives a text that the "
    "payment failed.",
    "All of the selected payments have a final status already.",
    _open,
    _judged(Kind.SETTLED_UNPAID),
    "Marked as not paid",
    note="How do you know? (for example the portal's reference)",
    permission="settle",
)
END_CONTEST = Action(
    "end_contest",
    "Close dispute: payment received",
    "Close dispute",
    "Use this when the provider reported a reversal but the money is still in our account.",
    "None of the selected payments is disputed.",
    lambda payments: payments.filter(place="contested"),
    _judged(Kind.CONTEST_WITH_US),
    "Dispute closed: payment received",
    note="How do you know? (for example the account statement)",
    permission="settle",
)
WENT_OUT = Action(
    "went_out",
    "Mark as paid out",
    "Mark as paid out",
    "Use this when the DMarkPay portal shows that the payout was made. The player receives a text that the refund or "
    "the prize was sent.",
    "The outcome of every selected payout is known already.",
    _in_doubt,
    _each(lambda pk, by, note: refunds.resolve(pk, went_out=True, actor=by, note=note), _KNOWN),
    "Marked as paid out",
    note="How do you know? (for example the portal's reference)",
)
STAYED = Action(
    "stayed",
    "Mark as not paid out",
    "Mark as not paid out",
    "Use this when the DMarkPay portal shows that the payout was not made. The money is payable again. Nobody receives "
    "a text.",
    "The outcome of every selected payout is known already.",
    _in_doubt,
    _each(lambda pk, by, note: refunds.resolve(pk, went_out=False, actor=by, note=note), _KNOWN),
    "Marked as not paid out",
    note="How do you know? (for example the portal's reference)",
)


CONTEST_GONE = Action(
    "contest_gone",
    "Record that the provider took the money back",
    "The money is gone",
    "Use this when the money of a disputed payment is not in the provider's account any more. Nothing is paid out.",
    "None of the selected payments is disputed.",
    lambda payments: payments.filter(Q(place="contested") | Q(place__in=("refunded", "prize_paid"), word="other")),
    _judged(Kind.CONTEST_GONE),
    "Recorded as taken back by the provider",
    note="How do you know?",
    permission="settle",
)
RETURNED = Action(
    "payout_returned",
    "Record that the payout was returned",
    "It came back",
    "Use this when the provider brought a payout back after it had paid it out. The money is payable again.",
    "None of the selected payouts was paid out.",
    lambda payouts: payouts.filter(state=Refund.State.SUCCEEDED),
    _each(refunds.returned, "It was not paid out."),
    "Recorded as returned",
    note="How do you know?",
)
WITHDRAW = Action(
    "withdraw_refund",
    "Take back the order",
    "Do not pay it out",
    "Use this for a payout that is ordered and not being sent yet. The money is payable again.",
    "None of the selected payouts is ordered and waiting.",
    lambda payouts: payouts.filter(state=Refund.State.ORDERED),
    _each(refunds.withdraw, "It is being sent, or has ended."),
    "Order taken back",
    note="Why?",
)


PAY_PRIZE = Action(
    "pay_prize",
    "Pay the prize",
    "Pay the prize",
    "The prize goes to the number of the winner, after the provider has confirmed both stakes. Clicking twice does not "
    "pay twice.",
    "No prize of the selected matches can be paid out. Without a provider, record it by hand.",
    lambda results: results.filter(prize="payable"),
    lambda result, by, _found: refunds.order_prize(result.pk, by.name),
    "Payout of the prize ordered",
)
PRIZE_BY_HAND = Action(
    "prize_by_hand",
    "Record a prize paid by hand",
    "Record the prize",
    "Nothing is paid out. The winner receives a text that the prize was sent, so record it only once it was.",
    "No prize of the selected matches is payable.",
    lambda results: results.filter(prize="payable"),
    lambda result, by, _found: refunds.prize_by_hand(result.pk, by.name, by.note, elsewhere=by.elsewhere),
    "Prize recorded as paid by hand",
    note="How was it paid? (receipt number, channel)",
    asks_account=True,
)
HOUSE_PAYS = Action(
    "house_pays",
    "Let the house pay the missing share",
    "The house pays",
    "Use this when the provider took back one stake of a match that was won. The house pays that share, so the whole "
    "prize becomes payable. The share is booked as lost.",
    "No selected match has a prize with one share that the provider took back. Close an open dispute first.",
    lambda results: (
        results.filter(prize="held")
        .exclude(Q(first__place="contested") | Q(second__place="contested"))
        .exclude(first__place="", second__place="")
    ),
    lambda result, by, _found: matches.house_pays(result.pk, by=by.name, note=by.note),
    "The house pays the missing share",
    note="Why does the house pay?",
)


def _carry_all(
    action: Action, model_admin: "ModelAdmin[Any]", request: HttpRequest, rows: list[Any], operator: Operator
) -> dict[Any, str]:
    """Carry out the action for each row. Return the rows for which it was not carried out, with the reasons."""
    end, refused = time.monotonic() + _SECONDS, dict[Any, str]()
    for row in rows:
        late = time.monotonic() > end
        if sentence := _OUT_OF_TIME if late else _carry(action, model_admin, request, row, operator):
            refused[row] = sentence
    return refused


def _report(
    action: Action, model_admin: "ModelAdmin[Any]", request: HttpRequest, rows: list[Any], refused: dict[Any, str]
) -> None:
    if len(refused) < len(rows):
        model_admin.message_user(request, f"{action.logged}: {len(rows) - len(refused):,}.", messages.SUCCESS)
    for row, sentence in list(refused.items())[:_SHOWN]:
        model_admin.message_user(request, f"Not done: {row}. {sentence}", messages.WARNING)
    if len(refused) > _SHOWN:
        model_admin.message_user(request, f"Not done: {len(refused) - _SHOWN:,} more.", messages.WARNING)
    if not rows:
        model_admin.message_user(request, f"Nothing was done. {action.none}", messages.WARNING)


def _carry(action: Action, model_admin: "ModelAdmin[Any]", request: HttpRequest, row: Any, operator: Operator) -> str:
    """Carry out the action for one row and log it, in one transaction.

    Return the reason if it was refused, otherwise "".
    """
    try:
        found = action.check(row, operator)
        with journal.writing():
            try:
                action.carry(row, operator, found)
            # Caught inside the transaction, so that the journal entry about the refusal is committed.
            except Refused as refusal:
                return str(refusal)
            message = f"{action.logged}: {operator.note}" if operator.note else action.logged
            model_admin.log_change(request, row, message)
    except Refused as refusal:
        return str(refusal)
    except OperationalError as error:
        if connection.vendor == "postgresql" and sqlstate(error) not in _BUSY:
            raise
        return "Another process is changing it. Try again."
    return ""


def _answer(request: HttpRequest, field: str) -> str:
    return request.POST.get(field, "").replace("\0", "").strip()[:LONGEST_NOTE]


def _next(request: HttpRequest) -> str:
    """Return the URL from the form field `next` if it is on this site, otherwise ""."""
    back = request.POST.get("next", "")
    return back if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}) else ""


class Payee(NamedTuple):
    """A line of the confirmation page. `reason`: a sentence about the state of the payment."""

    name: str
    phone: str
    amount: int
    created_at: datetime
    reason: str

    @property
    def amount_shown(self) -> str:
        return f"{self.amount:,}"


def _payees(request: HttpRequest, row: Any) -> list[Payee]:
    """Return the players to show on the confirmation page for a payment, payout, match result or match."""
    if isinstance(row, MatchResult):
        return [_payee(request, row.winner, row.amount)] if row.winner else []  # type: ignore[attr-defined]
    if isinstance(row, Payment | Refund):
        return [_payee(request, row.payment if isinstance(row, Refund) else row, row.amount)]
    # `row` is a match. Its model is in the app `game`, which `payments` does not import.
    return [_payee(request, entry.payment, entry.payment.amount) for entry in row.entries.select_related("payment")]


def _payee(request: HttpRequest, payment: Payment, amount: int) -> Payee:
    # `entry` is a stake. Its model is in the app `game`, which `payments` does not import.
    name = getattr(getattr(payment, "entry", None), "display_name", "")
    in_full = request.user.has_perm("sms.view_full_phone")
    phone = phones.spaced(payment.phone) if in_full else phones.masked(payment.phone)
    due = refunds.due().filter(pk=payment.pk).exists()
    return Payee(name, phone, amount, payment.created_at, wording.meaning(payment, payment.refunds.first(), due))


def _page(
    action: Action,
    model_admin: "ModelAdmin[Any]",
    request: HttpRequest,
    queryset: "QuerySet[Any]",
    able: "QuerySet[Any]",
    note_missing: bool,
) -> HttpResponse:
    count = able.count()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": action.title,
        "opts": model_admin.model._meta,
        "action": action,
        "selected": queryset.count(),
        "able": min(count, AT_ONCE),
        "too_many": count > AT_ONCE,
        "sum": f"{able.aggregate(sum=Sum('amount'))['sum'] or 0:,}",
        "ids": list(able.order_by("pk").values_list("pk", flat=True)[:AT_ONCE]),
        "payees": [payee for row in able.order_by("pk")[:10] for payee in _payees(request, row)],
        "asks_id": action.asks_id and count == 1 and any(row.provider for row in able),
        "note_missing": note_missing,
        "longest_note": LONGEST_NOTE,
        "next": _next(request),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/payments/confirm.html", context)
