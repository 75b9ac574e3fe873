"""Mobile-money payments, and every callback as it came."""

import secrets
from typing import ClassVar

from django.db import models
from django.utils import timezone


def new_transaction_id() -> str:
    return secrets.token_urlsafe(18)


class Payment(models.Model):
    """One collection from one phone. Whole UGX; the status moves once, from PENDING to an end."""

    class Status(models.TextChoices):
        PENDING = "PENDING", "pending"
        SUCCESS = "SUCCESS", "success"
        FAILED = "FAILED", "failed"

    transaction_id = models.CharField(max_length=64, unique=True, default=new_transaction_id)
    phone = models.CharField("phone (E.164)", max_length=16)
    amount = models.PositiveIntegerField("amount (UGX)")
    status = models.CharField(max_length=7, choices=Status, default=Status.PENDING)
    refund_due = models.BooleanField(default=False, db_index=True)
    refunded_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["phone"], name="payment_phone")]

    def __str__(self) -> str:
        return f"Payment {self.pk} of {self.amount} UGX ({self.status})"


class Callback(models.Model):
    """What the provider sent with a valid proof, word for word. Without a payment: we know no such transaction."""

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, null=True, blank=True, related_name="callbacks")
    received_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=7)
    body = models.TextField()
    # False for a repeat, and for a contradiction of what was settled before.
    applied = models.BooleanField(default=False)
    refusal = models.CharField("why it was refused", max_length=100, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.status} for payment {self.payment_id or 'unknown'}"
