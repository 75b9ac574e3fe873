"""Mobile-money payments, every callback as it came, every request to the provider, and refunds. Whole UGX."""

import secrets
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone


def new_transaction_id() -> str:
    return secrets.token_urlsafe(18)


class Payment(models.Model):
    """One collection from one phone. The status moves once, from PENDING to an end."""

    class Status(models.TextChoices):
        PENDING = "PENDING", "pending"
        SUCCESS = "SUCCESS", "success"
        FAILED = "FAILED", "failed"

    class Collection(models.TextChoices):
        """How far our own asking for the money is."""

        NONE = "", "not by us"
        DUE = "due", "to be asked"
        ASKING = "asking", "being asked"
        ASKED = "asked", "asked, waits for the payer"
        IN_DOUBT = "in_doubt", "in doubt whether it was asked"
        UNRESOLVED = "unresolved", "no answer for a day"
        WITHDRAWN = "withdrawn", "withdrawn before it was asked"
        OVER = "over", "over"

    transaction_id = models.CharField(max_length=64, unique=True, default=new_transaction_id)
    phone = models.CharField("phone (E.164)", max_length=16)
    amount = models.PositiveIntegerField("amount (UGX)")
    status = models.CharField(max_length=7, choices=Status, default=Status.PENDING)
    refund_due = models.BooleanField(default=False, db_index=True)
    refunded_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)
    # Whose word settled it: a callback, our own asking, the answer to the order, an operator; and what was said.
    settled_by = models.CharField(max_length=16, blank=True, default="", db_default="")
    reason = models.CharField("what the provider said", max_length=200, blank=True, default="", db_default="")
    # When the provider first said that the money came. None for a stake that was approved without any.
    collected_at = models.DateTimeField(null=True, blank=True)
    # The provider contradicted its own end: SUCCESS after FAILED, or FAILED after SUCCESS. An operator ends it.
    contested = models.BooleanField(default=False, db_default=False)
    contested_at = models.DateTimeField(null=True, blank=True)

    # --- our own order to collect it
    collection = models.CharField(max_length=10, choices=Collection, blank=True, default="", db_default="")
    provider = models.CharField("who collects", max_length=20, blank=True, default="", db_default="")
    network = models.CharField(max_length=20, blank=True, default="", db_default="")
    description = models.CharField("what the payer reads", max_length=100, blank=True, default="", db_default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="", db_default="")
    # `due`: from when on it may be asked; `asking`: until when nobody doubts that it is being asked.
    start_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField("asked for the money", null=True, blank=True)
    # Asking back what became of it.
    next_ask_at = models.DateTimeField(null=True, blank=True)
    last_ask_at = models.DateTimeField(null=True, blank=True)
    asks = models.PositiveIntegerField("times asked back", default=0, db_default=0)

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("refund_payment", "Can refund a payment"),
            ("settle_payment", "Can say what became of a payment, and end a contest"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["phone"], name="payment_phone"),
            # Partial, so that a turn of the worker costs the same with a million old rows as with none.
            models.Index(fields=["start_at"], condition=Q(collection__in=("due", "asking")), name="payment_to_start"),
            models.Index(fields=["next_ask_at"], condition=Q(next_ask_at__isnull=False), name="payment_to_ask"),
            models.Index(fields=["id"], condition=Q(collection__in=("in_doubt", "unresolved")), name="payment_doubt"),
            models.Index(fields=["id"], condition=Q(contested=True), name="payment_contested"),
            models.Index(fields=["collected_at"], condition=Q(collected_at__isnull=False), name="payment_collected"),
            models.Index(fields=["created_at"], name="payment_created"),
            models.Index(fields=["provider_id"], condition=~Q(provider_id=""), name="payment_provider_id"),
        ]

    def __str__(self) -> str:
        return f"Payment {self.pk} of {self.amount:,} UGX ({self.get_status_display()})"


class Callback(models.Model):
    """What came with a valid proof or address, word for word. Without a payment: we know no such transaction."""

    class Source(models.TextChoices):
        MOMO = "momo", "callback"
        DMARKPAY = "dmarkpay", "DMarkPay's notice"

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, null=True, blank=True, related_name="callbacks")
    source = models.CharField(max_length=10, choices=Source, default=Source.MOMO, db_default=Source.MOMO)
    received_at = models.DateTimeField(default=timezone.now)
    # Its own word, cut short; "" where none could be read.
    status = models.CharField(max_length=100, blank=True, default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="", db_default="")
    body = models.TextField()
    # HTTP's; 0: it was stored, and judging it was cut short.
    answered = models.PositiveSmallIntegerField("answered with", default=0, db_default=0)
    # False for a repeat, and for a contradiction of what was settled before.
    applied = models.BooleanField(default=False)
    refusal = models.CharField("why it was refused", max_length=200, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["received_at"], condition=~Q(refusal=""), name="callback_refused"),
        ]

    def __str__(self) -> str:
        return f"{self.status or 'something'} for payment {self.payment_id or 'unknown'}"


class Refund(models.Model):
    """Money on its way back to a payer, or back already."""

    class How(models.TextChoices):
        PAYOUT = "payout", "payout"
        BY_HAND = "by_hand", "by hand"

    class State(models.TextChoices):
        ORDERED = "ordered", "ordered"
        STARTED = "started", "being paid out"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        IN_DOUBT = "in_doubt", "in doubt whether it was paid out"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    amount = models.PositiveIntegerField("amount (UGX)")
    how = models.CharField(max_length=8, choices=How)
    state = models.CharField(max_length=10, choices=State, default=State.ORDERED)
    actor = models.CharField("ordered by", max_length=150)
    note = models.CharField(max_length=300, blank=True, default="")
    # Under which name it is known to the provider.
    reference = models.CharField(max_length=64, unique=True, default=new_transaction_id)
    provider = models.CharField(max_length=20, blank=True, default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="")
    reason = models.CharField("what the provider said", max_length=200, blank=True, default="")
    resolved_by = models.CharField("doubt ended by", max_length=150, blank=True, default="")
    ordered_at = models.DateTimeField(default=timezone.now)
    # `ordered`: from when on it may be paid out; `started`: until when nobody doubts that it is being paid out.
    start_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            # Whoever presses twice, and whatever the code believes: one refund a payment that may have gone out.
            models.UniqueConstraint(fields=["payment"], condition=~Q(state="failed"), name="one_refund_a_payment"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["start_at"], condition=Q(state__in=("ordered", "started")), name="refund_to_start"),
            models.Index(fields=["id"], condition=Q(state="in_doubt"), name="refund_in_doubt"),
        ]

    def __str__(self) -> str:
        return f"Refund {self.pk} of {self.amount:,} UGX ({self.get_state_display()})"


class Exchange(models.Model):
    """A request to the provider and what came back. An answer equal to the last one leaves no new row."""

    class Step(models.TextChoices):
        COLLECT = "collect", "asked for the money"
        STATUS = "status", "asked what became of it"
        PAYOUT = "payout", "paid out"

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="exchanges")
    at = models.DateTimeField(default=timezone.now)
    step = models.CharField(max_length=8, choices=Step)
    outcome = models.CharField(max_length=10)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField("the answer, cut short", blank=True, default="")
    words = models.CharField("what it means", max_length=200, blank=True, default="")
    ms = models.PositiveIntegerField("milliseconds", default=0)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.step} of payment {self.payment_id}: {self.outcome}"
