"""Mobile-money payments, every callback as it came, every request to the provider, and refunds. Whole UGX."""

import secrets
from typing import ClassVar

from django.db import OperationalError, models
from django.db.models import Q
from django.utils import timezone


def new_transaction_id() -> str:
    return new_reference()


def new_reference() -> str:
    """18 decimal digits: DMarkPay was never seen with letters in a reference of ours."""
    return str(secrets.choice(range(10**17, 10**18)))


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
        IN_DOUBT = "in_doubt", "request sent, outcome unknown"
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
    # Status polling.
    next_ask_at = models.DateTimeField(null=True, blank=True)
    last_ask_at = models.DateTimeField(null=True, blank=True)
    asks = models.PositiveIntegerField("times asked back", default=0, db_default=0)

    # --- the cached fold of the journal (payments.states.State); `journal` alone writes it
    fee = models.PositiveIntegerField("fee in the amount (UGX)", default=0, db_default=0)
    # `in_use`: received, waiting or in a match; which of the three follows from the use (payments.uses).
    place = models.CharField("account of the money", max_length=14, blank=True, default="", db_default="")
    back = models.CharField("account it returns to", max_length=14, blank=True, default="", db_default="")
    word = models.CharField("provider's last word", max_length=10, blank=True, default="", db_default="")
    word_at = models.DateTimeField("that poll began", null=True, blank=True)
    other_since = models.DateTimeField("unknown word since", null=True, blank=True)
    ok_at = models.DateTimeField("last Successful poll began", null=True, blank=True)
    answer_owed_since = models.DateTimeField("a notification is unanswered since", null=True, blank=True)
    payout = models.CharField("payout", max_length=10, blank=True, default="", db_default="")
    payout_ordered_at = models.DateTimeField(null=True, blank=True)
    settled_by_name = models.CharField(
        "operator whose word stands", max_length=150, blank=True, default="", db_default=""
    )
    house_share = models.BooleanField("the house paid its share", default=False, db_default=False)
    # 0: not adopted yet (payments.adoption). The database sets `stale` on an UPDATE that changes the state without it.
    version = models.PositiveIntegerField(default=0, db_default=0)
    stale = models.BooleanField(default=False, db_default=False)

    # Not stored: the database error that kept the use of the money from being settled, such as a lock timeout.
    use_error: OperationalError | None = None

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("refund_payment", "Can refund a payment"),
            ("settle_payment", "Can mark a payment as paid or not paid, and close a dispute"),
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
            models.Index(fields=["id"], condition=Q(version=0) | Q(stale=True), name="payment_to_adopt"),
            models.Index(
                fields=["place", "id"], condition=~Q(place__in=("", "in_use", "refunded")), name="payment_place"
            ),
        ]

    def __str__(self) -> str:
        return f"Payment {self.pk} of {self.amount:,} UGX ({self.get_status_display()})"


class Callback(models.Model):
    """A callback or notification as received. `payment` is empty if the transaction is unknown."""

    class Source(models.TextChoices):
        MOMO = "momo", "callback"
        DMARKPAY = "dmarkpay", "DMarkPay's notice"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="callbacks")
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
    refusal = models.CharField("rejection reason", max_length=200, blank=True, default="")
    # An operator has looked at an unreadable or rejected callback.
    seen_at = models.DateTimeField(null=True, blank=True)
    seen_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["received_at"], condition=~Q(refusal=""), name="callback_refused"),
        ]

    def __str__(self) -> str:
        if self.payment_id is None:
            return "Unmatched callback"
        return f"Callback {self.status or 'without a status'} for payment {self.payment_id}"


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
        IN_DOUBT = "in_doubt", "payout sent, outcome unknown"
        RETURNED = "returned", "returned by the provider"

    class Kind(models.TextChoices):
        REFUND = "refund", "refund"
        PRIZE = "prize", "prize"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    kind = models.CharField(max_length=6, choices=Kind, default=Kind.REFUND, db_default=Kind.REFUND)
    amount = models.PositiveIntegerField("amount (UGX)")
    how = models.CharField(max_length=8, choices=How)
    state = models.CharField(max_length=10, choices=State, default=State.ORDERED)
    actor = models.CharField("ordered by", max_length=150)
    note = models.CharField(max_length=300, blank=True, default="")
    # Under which name it is known to the provider.
    reference = models.CharField(max_length=64, unique=True, default=new_reference)
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
            # Enforced by the database, not only by the code: at most one payout per payment that may have been sent.
            models.UniqueConstraint(
                fields=["payment"], condition=~Q(state__in=("failed", "returned")), name="one_payout_a_payment"
            ),
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
        STATUS = "status", "status poll"
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


_USUAL_KINDS = (
    "requested",
    "claimed",
    "request_pending",
    "word",
    "polled",
    "notified",
    "activated",
    "matched",
)
_RARE_ACCOUNTS = (
    "elsewhere",
    "lost",
    "commission",
    "opening",
    "contested",
    "refund_due",
    "refund_transit",
    "prize",
    "prize_transit",
)


class PaymentEvent(models.Model):
    """The journal: everything that was said or done about a payment, in order, by whom. Append-only, as the database
    enforces."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=20)
    said = models.CharField("provider's word", max_length=40, blank=True, default="")
    actor = models.CharField("by", max_length=150, blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="")
    # Why the event changed nothing; "" if it was applied.
    refused = models.CharField(max_length=200, blank=True, default="")
    callback = models.ForeignKey(Callback, on_delete=models.PROTECT, null=True, blank=True, related_name="events")
    payout = models.ForeignKey(Refund, on_delete=models.PROTECT, null=True, blank=True, related_name="events")
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField("the answer, cut short", blank=True, default="")
    ms = models.PositiveIntegerField("milliseconds", default=0)
    # The other facts that a replay needs.
    facts = models.JSONField(default=dict, blank=True)
    key = models.CharField(max_length=80, blank=True, default="")

    class Meta:
        verbose_name = "journal entry"
        verbose_name_plural = "journal"
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["payment", "key"], condition=~Q(key=""), name="event_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["at"], name="event_at"),
            # The kinds of every stake are left out: any part of the list has plenty of them.
            models.Index(fields=["kind", "id"], condition=~Q(kind__in=_USUAL_KINDS), name="event_rare_kind"),
        ]

    def __str__(self) -> str:
        return f"Journal entry {self.pk}"


class LedgerEntry(models.Model):
    """One posting: `amount` whole UGX from the credit account to the debit account. Append-only, as the database
    enforces."""

    at = models.DateTimeField()
    # The hour (UTC) of the posting, for the totals.
    hour = models.DateTimeField()
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="entries_in_ledger")
    event = models.ForeignKey(PaymentEvent, on_delete=models.PROTECT, related_name="postings")
    debit = models.CharField(max_length=14)
    credit = models.CharField(max_length=14)
    amount = models.PositiveIntegerField("amount (UGX)")

    class Meta:
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger"
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="ledger_amount_positive"),
            models.CheckConstraint(condition=~Q(debit=models.F("credit")), name="ledger_two_accounts"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["hour", "debit", "credit"], include=["amount"], name="ledger_hour"),
            # The accounts of every stake are left out: any part of the list has plenty of them.
            models.Index(
                fields=["id"], condition=Q(debit__in=_RARE_ACCOUNTS) | Q(credit__in=_RARE_ACCOUNTS), name="ledger_rare"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.debit} / {self.credit} {self.amount:,} UGX"


class AccountHour(models.Model):
    """The total of one pair of accounts in one hour that is over. The worker writes it once; nothing changes it."""

    hour = models.DateTimeField()
    debit = models.CharField(max_length=14)
    credit = models.CharField(max_length=14)
    amount = models.PositiveBigIntegerField("amount (UGX)")
    count = models.PositiveIntegerField("postings")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "debit", "credit"], name="account_hour_once"),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.debit} / {self.credit}"


class PayoutShare(models.Model):
    """A payment's part of a payout: one for a refund, two for a prize. At most one is open per payment."""

    payout = models.ForeignKey(Refund, on_delete=models.PROTECT, related_name="shares")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="payout_shares")
    amount = models.PositiveIntegerField("amount (UGX)")
    # False once the payout failed or was returned.
    open = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["payment"], condition=Q(open=True), name="one_open_payout_a_payment"),
        ]

    def __str__(self) -> str:
        return f"Share of payment {self.payment_id} in payout {self.payout_id}"


class MatchResult(models.Model):
    """The result of a match, by the ids of its two payments. Its prize follows from their places."""

    class Outcome(models.TextChoices):
        WIN = "win", "win"
        DRAW = "draw", "draw"
        VOID = "void", "void"

    key = models.CharField(max_length=40, unique=True)
    first = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=4, choices=Outcome)
    winner = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # Cached: payments.match_rules.Prize.
    prize = models.CharField(max_length=10, blank=True, default="")
    recorded_by = models.CharField(max_length=150)
    recorded_at = models.DateTimeField()
    note = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        verbose_name = "result of a match"
        verbose_name_plural = "results of matches"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["prize"], condition=~Q(prize__in=("", "paid")), name="result_prize")]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} in match {self.key}"
