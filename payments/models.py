"""Models of mobile money payments, callbacks, payouts, results of matches, the journal and the ledger.

All amounts are whole UGX.
"""

import secrets
from typing import ClassVar

from django.db import OperationalError, models
from django.db.models import Q
from django.utils import timezone


def new_transaction_id() -> str:
    return new_reference()


def new_reference() -> str:
    """Return a new reference of 18 decimal digits. Only digits are used, because DMarkPay may not accept letters."""
    return str(secrets.choice(range(10**17, 10**18)))


class Payment(models.Model):
    """One payment from one phone. Its status changes at most once: from PENDING to SUCCESS or FAILED."""

    class Status(models.TextChoices):
        PENDING = "PENDING", "pending"
        SUCCESS = "SUCCESS", "success"
        FAILED = "FAILED", "failed"

    class Collection(models.TextChoices):
        """The state of the payment request that we send to the provider."""

        NONE = "", "not by us"
        DUE = "due", "to be requested"
        ASKING = "asking", "being requested"
        ASKED = "asked", "requested, waiting for the payer"
        IN_DOUBT = "in_doubt", "request sent, outcome unknown"
        UNRESOLVED = "unresolved", "no answer for a day"
        WITHDRAWN = "withdrawn", "withdrawn before it was requested"
        OVER = "over", "over"

    transaction_id = models.CharField(max_length=64, unique=True, default=new_transaction_id)
    phone = models.CharField("phone (E.164)", max_length=16)
    amount = models.PositiveIntegerField("amount (UGX)")
    status = models.CharField(max_length=7, choices=Status, default=Status.PENDING)
    refund_due = models.BooleanField(default=False)
    refunded_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)
    # Source of the final status: `callback`, `asking` (a poll), `operator`, or `answer` (the payment request was
    # answered or given up).
    settled_by = models.CharField(max_length=16, blank=True, default="", db_default="")
    reason = models.CharField("what the provider said", max_length=200, blank=True, default="", db_default="")
    # The time at which we first knew that the money had arrived. Null if no money arrived.
    collected_at = models.DateTimeField(null=True, blank=True)
    # True if the provider contradicted the payment's final status, and this contradiction is still open.
    contested = models.BooleanField("disputed", default=False, db_default=False)
    contested_at = models.DateTimeField(null=True, blank=True)

    collection = models.CharField(max_length=10, choices=Collection, blank=True, default="", db_default="")
    provider = models.CharField("who collects", max_length=20, blank=True, default="", db_default="")
    network = models.CharField(max_length=20, blank=True, default="", db_default="")
    description = models.CharField("what the payer reads", max_length=100, blank=True, default="", db_default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="", db_default="")
    # For a `due` request, the earliest time to send it. For an `asking` request, the time when the claim of the sending
    # process ends.
    start_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField("asked for the money", null=True, blank=True)
    # The next three fields are for status polling.
    next_ask_at = models.DateTimeField(null=True, blank=True)
    last_ask_at = models.DateTimeField(null=True, blank=True)
    asks = models.PositiveIntegerField("times asked back", default=0, db_default=0)

    fee = models.PositiveIntegerField("fee in the amount (UGX)", default=0, db_default=0)
    # The fields from `place` to `house_share` cache the state that follows from the journal. `place` is `in_use` while
    # the money is received, waiting or in a match.
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
    # `version` is 0 until the payment is in the journal. It increases with each change of the payment's state. If an
    # UPDATE changes the state but not `version`, a database trigger sets `stale`.
    version = models.PositiveIntegerField(default=0, db_default=0)
    stale = models.BooleanField(default=False, db_default=False)

    # Time of the first failure of a signal's receiver, or null. The worker repeats the signal until no receiver fails.
    signal_due_since = models.DateTimeField(null=True, blank=True, editable=False)

    # Not a database field: the lock timeout, statement timeout or deadlock that prevented the app from using the money,
    # or None.
    use_error: OperationalError | None = None

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("refund_payment", "Can refund a payment"),
            ("settle_payment", "Can mark a payment as paid or not paid, and close a dispute"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["phone"], name="payment_phone"),
            # A partial index keeps the worker's search for due payment requests fast, even with many old payments.
            models.Index(fields=["start_at"], condition=Q(collection__in=("due", "asking")), name="payment_to_start"),
            models.Index(fields=["next_ask_at"], condition=Q(next_ask_at__isnull=False), name="payment_to_ask"),
            models.Index(fields=["id"], condition=Q(collection__in=("in_doubt", "unresolved")), name="payment_doubt"),
            models.Index(fields=["id"], condition=Q(contested=True), name="payment_contested"),
            models.Index(fields=["collected_at"], condition=Q(collected_at__isnull=False), name="payment_collected"),
            models.Index(fields=["created_at"], name="payment_created"),
            models.Index(fields=["provider_id"], condition=~Q(provider_id=""), name="payment_provider_id"),
            models.Index(fields=["id"], condition=Q(version=0) | Q(stale=True), name="payment_to_adopt"),
            models.Index(fields=["id"], condition=Q(answer_owed_since__isnull=False), name="payment_answer_owed"),
            models.Index(fields=["id"], condition=Q(signal_due_since__isnull=False), name="payment_signal_due"),
            models.Index(fields=["other_since"], condition=Q(other_since__isnull=False), name="payment_other_word"),
            models.Index(
                fields=["place", "id"], condition=~Q(place__in=("", "in_use", "refunded")), name="payment_place"
            ),
        ]

    def __str__(self) -> str:
        return f"Payment {self.pk} of {self.amount:,} UGX"


class Callback(models.Model):
    """A callback or notification, stored as received. `payment` is null if no payment was found."""

    class Source(models.TextChoices):
        MOMO = "momo", "callback"
        DMARKPAY = "dmarkpay", "DMarkPay's notification"

    payment = models.ForeignKey(
        Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="callbacks", db_index=False
    )
    source = models.CharField(max_length=10, choices=Source, default=Source.MOMO, db_default=Source.MOMO)
    received_at = models.DateTimeField(default=timezone.now)
    # The status in the body: PENDING, SUCCESS or FAILED in a callback, the provider's word in a notification
    # (truncated). Empty if unreadable.
    status = models.CharField(max_length=100, blank=True, default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="", db_default="")
    body = models.TextField()
    # The HTTP status of our response, or 0 if an error or a crash interrupted the handling.
    answered = models.PositiveSmallIntegerField("answered with", default=0, db_default=0)
    # True if the callback changed the status of the payment.
    applied = models.BooleanField("changed the payment", default=False)
    refusal = models.CharField("rejection reason", max_length=200, blank=True, default="")
    # Time at which an operator marked an unreadable or rejected callback as seen.
    seen_at = models.DateTimeField(null=True, blank=True)
    seen_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["received_at"], condition=~Q(refusal=""), name="callback_refused"),
            # When a callback to `/momo/callback` is inserted, `payment` is still null, so the INSERT skips this index.
            models.Index(fields=["payment"], condition=Q(payment__isnull=False), name="callback_payment"),
        ]

    def __str__(self) -> str:
        if self.payment_id is None:
            return "Unmatched callback"
        return f"Callback {self.status or 'without a status'} for payment {self.payment_id}"


class Refund(models.Model):
    """A payout to a payer or winner: a refund or a prize, sent through the provider or recorded by hand."""

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
    # Our reference for the payout, which is also sent to the provider.
    reference = models.CharField(max_length=64, unique=True, default=new_reference)
    provider = models.CharField(max_length=20, blank=True, default="")
    provider_id = models.CharField("the provider's id", max_length=100, blank=True, default="")
    reason = models.CharField("what the provider said", max_length=200, blank=True, default="")
    resolved_by = models.CharField("doubt ended by", max_length=150, blank=True, default="")
    ordered_at = models.DateTimeField(default=timezone.now)
    # The time of the next step: in state `ordered`, the payout is sent. In `started`, the sender's claim expires. In
    # `in_doubt` and `failed`, the payout's status is polled; if null, it is not polled.
    start_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # True if a receiver of the signal about this payout failed. The worker repeats the signal until no receiver fails.
    signal_due = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            # A payment has at most one payout, not counting payouts that failed or were returned.
            models.UniqueConstraint(
                fields=["payment"], condition=~Q(state__in=("failed", "returned")), name="one_payout_a_payment"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["start_at"], condition=Q(state__in=("ordered", "started")), name="refund_to_start"),
            models.Index(fields=["id"], condition=Q(state="in_doubt"), name="refund_in_doubt"),
            models.Index(
                fields=["start_at"],
                condition=Q(state__in=("in_doubt", "failed"), start_at__isnull=False),
                name="refund_to_poll",
            ),
            models.Index(fields=["id"], condition=Q(signal_due=True), name="refund_signal_due"),
        ]

    def __str__(self) -> str:
        return f"Refund {self.pk} of {self.amount:,} UGX ({self.get_state_display()})"


class Exchange(models.Model):
    """A request to the provider and its response, stored by an earlier release. No new rows are written."""

    _STEPS: ClassVar = [("collect", "asked for the money"), ("status", "status poll"), ("payout", "paid out")]

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="exchanges")
    at = models.DateTimeField(default=timezone.now)
    step = models.CharField(max_length=8, choices=_STEPS)
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
    """A journal entry: one event of a payment, with its cause.

    Database triggers refuse changes. A DELETE is allowed only if the payment is over 30 days old and has no ledger
    entries.
    """

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=20)
    said = models.CharField("provider's word", max_length=40, blank=True, default="")
    actor = models.CharField("by", max_length=150, blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="")
    # Why the event was refused and changed nothing. Empty if it was applied.
    refused = models.CharField(max_length=200, blank=True, default="")
    callback = models.ForeignKey(
        Callback, on_delete=models.PROTECT, null=True, blank=True, related_name="events", db_index=False
    )
    payout = models.ForeignKey(
        Refund, on_delete=models.PROTECT, null=True, blank=True, related_name="events", db_index=False
    )
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField("the answer, cut short", blank=True, default="")
    ms = models.PositiveIntegerField("milliseconds", default=0)
    # Data of the event that a replay of the journal needs in addition to the columns above.
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
            # These indexes leave out most events, which have neither a callback nor a payout.
            models.Index(fields=["callback"], condition=Q(callback__isnull=False), name="event_callback"),
            models.Index(fields=["payout"], condition=Q(payout__isnull=False), name="event_payout"),
            # Frequent kinds are left out, because a search finds entries of these kinds quickly without an index.
            models.Index(fields=["kind", "id"], condition=~Q(kind__in=_USUAL_KINDS), name="event_rare_kind"),
        ]

    def __str__(self) -> str:
        return f"Journal entry {self.pk}"


class LedgerEntry(models.Model):
    """One posting: `amount` in whole UGX, debited to one account and credited to another.

    Database triggers make the ledger append-only.
    """

    at = models.DateTimeField()
    # The start of the hour of the posting, in UTC. The totals are computed per hour.
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
            # The index omits frequent accounts: the admin's list finds their entries quickly without it.
            models.Index(
                fields=["id"], condition=Q(debit__in=_RARE_ACCOUNTS) | Q(credit__in=_RARE_ACCOUNTS), name="ledger_rare"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.debit} / {self.credit} {self.amount:,} UGX"


class AccountHour(models.Model):
    """For one past hour, the total of the ledger entries that debit one account and credit another.

    If a ledger entry is later added to the hour, a database trigger updates the total.
    """

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


class ProviderDebit(models.Model):
    """A ledger posting without a payment: money that left our account at the provider, entered by an operator.

    Database triggers make the table append-only.
    """

    class Account(models.TextChoices):
        FEES = "fees", "fee of the provider"
        WITHDRAWALS = "withdrawals", "withdrawal by the owner"

    at = models.DateTimeField(default=timezone.now)
    account = models.CharField("what it was", max_length=14, choices=Account)
    amount = models.BigIntegerField("amount (UGX)", help_text="Negative to correct an earlier entry.")
    actor = models.CharField("entered by", max_length=150)
    note = models.CharField(max_length=300, help_text="For example the line of the provider's statement.")
    # The key of the operator's form, so that a form that is sent twice is booked once. Null in older entries.
    key = models.UUIDField(unique=True, null=True)

    class Meta:
        verbose_name = "withdrawal or fee"
        verbose_name_plural = "withdrawals and fees"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(amount=0), name="provider_debit_not_zero")]
        indexes: ClassVar = [models.Index(fields=["at"], name="provider_debit_at")]

    def __str__(self) -> str:
        return f"{self.get_account_display()} of {self.amount:,} UGX"


class PayoutShare(models.Model):
    """The part of a payout that comes from one payment.

    A refund has one share, and a prize has two. A payment has at most one open share.
    """

    payout = models.ForeignKey(Refund, on_delete=models.PROTECT, related_name="shares")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="payout_shares")
    amount = models.PositiveIntegerField("amount (UGX)")
    # True until the payout fails or is returned.
    open = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["payment"], condition=Q(open=True), name="one_open_payout_a_payment"),
        ]

    def __str__(self) -> str:
        return f"Share of payment {self.payment_id} in payout {self.payout_id}"


class MatchResult(models.Model):
    """The result of a match. `first`, `second`: the two payments of the match. `key`: identifies the match."""

    class Outcome(models.TextChoices):
        WIN = "win", "win"
        DRAW = "draw", "draw"
        VOID = "void", "void"

    key = models.CharField(max_length=40, unique=True)
    first = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=4, choices=Outcome)
    winner = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # The cached state of the prize: a value of `payments.rules.match.Prize`.
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
