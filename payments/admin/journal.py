"""The admin's lists of journal entries, of ledger entries, and of withdrawals and fees."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from payments import database, ledger, phones
from payments.admin import wording
from payments.admin.base import SEARCHED, PaymentsAdmin, SearchByValue, found
from payments.admin.filters import AccountFilter, BookedDayFilter, DayFilter, FlowFilter, KindFilter
from payments.models import LedgerEntry, PaymentEvent, ProviderDebit
from payments.rules.states import Account, Kind

_WORDS = {"successful": "Successful", "failed": "Failed", "other": "another word"}


class EventColumns:
    """Columns that describe a journal entry in words, shared by the journal's list and the page of a payment."""

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        return rows.prefetch_related("postings")

    @admin.display(description="what happened")
    def what(self, event: PaymentEvent) -> str:
        return what(event)

    @admin.display(description="provider's word")
    def word(self, event: PaymentEvent) -> str:
        return _WORDS.get(event.said, event.said)

    @admin.display(description="by")
    def by(self, event: PaymentEvent) -> str:
        return event.actor

    @admin.display(description="nothing changed because")
    def unchanged(self, event: PaymentEvent) -> str:
        return event.refused

    @admin.display(description="money")
    def money(self, event: PaymentEvent) -> str:
        return "; ".join(_posting(entry) for entry in event.postings.all())

    @admin.display(description="answer")
    def shown_answer(self, event: PaymentEvent) -> str:
        return phones.hidden(event.answer)


def what(event: PaymentEvent) -> str:
    return wording.EVENTS[Kind(event.kind)]


def account(name: str) -> str:
    return wording.ACCOUNTS[Account(name)]


def _posting(entry: LedgerEntry) -> str:
    return f"{entry.amount:,} UGX: {account(entry.debit)} → {account(entry.credit)}"


def _sum(amount: ledger.Amount) -> str:
    return f"{amount.ugx:,} UGX in {amount.postings:,} {'entry' if amount.postings == 1 else 'entries'}"


class JournalAdmin(SearchByValue, PaymentsAdmin):
    """Base class of the lists of events and postings, newest first. The primary key's index gives this order."""

    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("payment",)
    search_help_text = SEARCHED

    def condition(self, term: str) -> Q:
        return Q(payment__in=found(term))


@admin.register(PaymentEvent)
class EventAdmin(EventColumns, JournalAdmin):
    list_select_related = ("payment",)
    list_display = ("at", "what", "word", "payment", "by", "note", "unchanged", "money")
    list_filter = (KindFilter, DayFilter)
    fields = (
        "at",
        "payment",
        "what",
        "word",
        "by",
        "note",
        "unchanged",
        "money",
        "callback",
        "payout",
        "http_status",
        "shown_answer",
        "ms",
    )
    readonly_fields = (*fields, "answer")
    csv_columns = {
        "id": "pk",
        "at": "at",
        "payment": "payment.transaction_id",
        "what": what,
        "word": "said",
        "by": "actor",
        "note": "note",
        "nothing_changed_because": "refused",
    }


@admin.register(LedgerEntry)
class LedgerAdmin(JournalAdmin):
    list_display = ("at", "shown_amount", "from_account", "to_account", "payment", "what")
    list_filter = (AccountFilter, FlowFilter, BookedDayFilter)
    change_list_template = "admin/payments/ledger_list.html"
    list_select_related = ("payment", "event")
    fields = readonly_fields = ("at", "shown_amount", "from_account", "to_account", "payment", "event", "what")
    csv_columns = {
        "id": "pk",
        "at": "at",
        "payment": "payment.transaction_id",
        "what": lambda entry: what(entry.event),
        "debit": "debit",
        "credit": "credit",
        "amount_ugx": "amount",
    }

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the totals of the selected day above its ledger entries."""
        day = DayFilter.chosen(request.GET.get("day"))
        figures = ledger.day(day).items() if day else ()
        shown = [{"name": name, "label": ledger.FLOWS[name].label, "sum": _sum(amount)} for name, amount in figures]
        return super().changelist_view(request, {"figures": shown, "figures_day": day, **(extra_context or {})})

    @admin.display(description="debit")
    def from_account(self, entry: LedgerEntry) -> str:
        return account(entry.debit)

    @admin.display(description="credit")
    def to_account(self, entry: LedgerEntry) -> str:
        return account(entry.credit)

    @admin.display(description="what happened")
    def what(self, entry: LedgerEntry) -> str:
        return what(entry.event)


class DebitForm(forms.ModelForm):
    """The form of a withdrawal or fee. If the form is sent twice, both requests have the same `key`."""

    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def validate_unique(self) -> None:
        """Skip Django's query for a duplicate `key`. The unique index refuses each duplicate, even a concurrent one."""


@admin.register(ProviderDebit)
class ProviderDebitAdmin(PaymentsAdmin):
    """Withdrawals and fees, entered by operators. They can be added, but not changed or deleted."""

    ordering = ("-id",)
    list_display = ("at", "account", "shown_amount", "actor", "note")
    list_filter = (DayFilter,)
    form = DebitForm
    change_list_template = "admin/payments/debit_list.html"
    csv_columns = {
        "id": "pk",
        "at": "at",
        "account": "account",
        "amount_ugx": "amount",
        "by": "actor",
        "note": "note",
    }

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_refund_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.view_ledgerentry")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["account", "amount", "note", *([] if obj else ["key"])]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except IntegrityError:  # An entry with the key of this form already exists.
            self.message_user(request, "This form was saved before. Nothing was booked again.", messages.WARNING)
            return redirect("admin:payments_providerdebit_changelist")

    def save_model(self, request: HttpRequest, obj: ProviderDebit, form: Any, change: bool) -> None:
        obj.at, obj.actor = database.now(), request.user.get_username()
        super().save_model(request, obj, form, change)
