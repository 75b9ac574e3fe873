"""The outbox (messages with their results and history), workers, pauses, the suppression list, and alerts."""

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from sms.formats import masked

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


class Status(models.TextChoices):
    QUEUED = "queued", _("queued")
    SENDING = "sending", _("sending")
    # DMark may or may not have the message.
    UNKNOWN = "unknown", _("unknown")
    SENT = "sent", _("sent")
    DELIVERED = "delivered", _("delivered")
    UNDELIVERED = "undelivered", _("undelivered")
    FAILED = "failed", _("failed")
    RATE_LIMITED = "rate_limited", _("rate limited")
    EXPIRED = "expired", _("expired")
    DISABLED = "disabled", _("disabled")
    CANCELLED = "cancelled", _("cancelled")


# Statuses of messages that the provider has accepted.
ACCEPTED = (Status.SENT, Status.UNDELIVERED, Status.DELIVERED)
RESENDABLE = (Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN, Status.EXPIRED, Status.RATE_LIMITED, Status.DISABLED)
# Statuses of messages that did not reach the phone, or may not have reached it (UNKNOWN).
UNSUCCESSFUL = (Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN, Status.EXPIRED, Status.RATE_LIMITED)
OPEN = (Status.QUEUED, Status.SENDING)


class SmsMessage(models.Model):
    """One message to one phone. All times are timezone-aware."""

    # Declared for type checkers without the django-stubs plugin. At runtime Django adds this reverse relation itself.
    events: "RelatedManager[SmsEvent]"

    phone = models.CharField(_("phone (E.164)"), max_length=16)
    text = models.TextField()
    kind = models.CharField(max_length=40, blank=True, default="")
    status = models.CharField(max_length=12, choices=Status, default=Status.QUEUED)
    dedupe_key = models.CharField(_("reference"), max_length=200, null=True, blank=True, unique=True)
    provider_id = models.CharField(_("provider's id"), max_length=100, blank=True, default="")
    attempts = models.PositiveIntegerField(_("send requests"), default=0)
    retries = models.PositiveIntegerField(_("retries"), default=0)
    # Number of send requests with an unknown outcome. Each of them may have put an SMS on the phone.
    ambiguous_requests = models.PositiveSmallIntegerField(
        _("ambiguous requests"), default=0, db_default=0, db_column="doubts"
    )
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    due_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    # Time of the first click on the link in the message.
    opened_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Number of SMS segments, stored because the text may be erased later. Rows older than this column have 0.
    segments = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # True if the text contains a link that works as a credential (see SMS_REDACT). The credential is removed from the
    # text after delivery or expiry.
    holds_link = models.BooleanField(default=False, db_default=False, editable=False)
    # Time of the last poll for the message's delivery report.
    polled_at = models.DateTimeField(null=True, blank=True, editable=False)
    # `claim`: id of the sender that has claimed the message. `lease_until`: time at which this claim expires. A paused
    # message also has `lease_until`, so that queries for due messages skip it (see `sms.worker.maintenance.park`).
    claim = models.CharField(max_length=32, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("SMS")
        verbose_name_plural = _("all texts")
        get_latest_by = "created_at"
        permissions: ClassVar = [
            ("resend_smsmessage", "Can send an SMS again"),
            ("cancel_smsmessage", "Can cancel an SMS that is not sent yet"),
            ("view_full_phone", "Can see phone numbers in full"),
        ]
        indexes: ClassVar = [
            # A partial index: queries for due messages stay fast even if the table holds a million old rows.
            models.Index(
                fields=["expires_at", "id"],
                condition=Q(status="queued", lease_until__isnull=True),
                name="sms_claimable",
            ),
            models.Index(fields=["created_at"], name="sms_created"),
            models.Index(fields=["phone", "created_at"], name="sms_phone"),
            models.Index(fields=["provider_id"], condition=~Q(provider_id=""), name="sms_provider_id"),
            models.Index(fields=["status", "created_at"], name="sms_status"),
            models.Index(fields=["kind", "created_at"], name="sms_kind"),
            models.Index(fields=["sent_at"], condition=Q(status="sent"), name="sms_unreported"),
            models.Index(fields=["expires_at"], condition=Q(holds_link=True), name="sms_links"),
        ]

    def __str__(self) -> str:
        return f"SMS {self.pk} ({self.kind or 'plain'}, {self.status})"


class SmsEvent(models.Model):
    """One event in a message's history: an attempt to send it, a delivery report, an operator's action, or a click."""

    class What(models.TextChoices):
        ATTEMPT = "attempt", _("attempt")
        REPORT = "report", _("report")
        RESEND = "resend", _("resend")
        CANCEL = "cancel", _("cancel")
        OPENED = "opened", _("opened")

    message = models.ForeignKey(SmsMessage, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    what = models.CharField(max_length=8, choices=What)
    step = models.CharField(_("token, send, throttle, push, poll"), max_length=8, blank=True, default="")
    attempt = models.PositiveSmallIntegerField(default=0)
    http_status = models.PositiveIntegerField(null=True, blank=True)
    provider_id = models.CharField(max_length=100, blank=True, default="")
    answer = models.TextField(_("provider's response, truncated and redacted"), blank=True, default="")
    # A value of `sms.errors.Trouble` if this failure affects all messages, otherwise "".
    trouble = models.CharField(max_length=12, blank=True, default="", db_default="")
    error = models.TextField(blank=True, default="")
    ms = models.PositiveIntegerField(_("milliseconds"), default=0)
    actor = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["at", "id"]
        indexes: ClassVar = [models.Index(fields=["at"], condition=Q(step="throttle"), name="sms_event_throttled")]

    def __str__(self) -> str:
        return f"{self.what} of SMS {self.message_id}"


class SmsWorker(models.Model):
    """A running `sms_worker` process (not `--once`). It updates the row every 5 s. A normal stop deletes the row."""

    claimer = models.CharField(max_length=32, unique=True)
    name = models.CharField(_("host and process"), max_length=100)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    sent = models.PositiveIntegerField(default=0)
    # Reasons why the worker has paused sending. `trouble`: a value of `sms.errors.Trouble`. `paused`: a sentence. Both
    # are empty if the worker has not paused sending.
    trouble = models.CharField(max_length=12, blank=True, default="", db_default="")
    paused = models.TextField(blank=True, default="")
    # `in_flight`: number of messages that the worker is sending. `longest_since` and `longest_step`: start time and
    # current step of the message that is taking longest.
    in_flight = models.PositiveIntegerField(default=0, db_default=0)
    longest_since = models.DateTimeField(null=True, blank=True)
    longest_step = models.CharField(max_length=40, blank=True, default="", db_default="")
    # Number of seconds by which the signals `sms_sent` and `sms_failed` are late, usually because a receiver is slow.
    receivers_behind = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        verbose_name = _("worker")

    def __str__(self) -> str:
        return self.name


class SmsDay(models.Model):
    """Counts of messages and SMS segments for one past day, kind and status, kept after the messages are deleted."""

    day = models.DateField()
    kind = models.CharField(max_length=40, blank=True, default="")
    status = models.CharField(max_length=12, choices=Status)
    messages = models.PositiveIntegerField()
    segments = models.PositiveIntegerField()

    class Meta:
        verbose_name = _("day")
        constraints: ClassVar = [models.UniqueConstraint(fields=["day", "kind", "status"], name="sms_day_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.kind or 'plain'} {self.status}: {self.messages}"


class SmsPause(models.Model):
    """A pause: an operator has stopped the sending of all messages or of one kind. Deleting the row ends the pause."""

    ALL = "*"

    kind = models.CharField(max_length=40, unique=True, default=ALL, blank=True)
    reason = models.CharField(max_length=200)
    actor = models.CharField(_("paused by"), max_length=150, blank=True, default="", editable=False)
    since = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "sms_smshold"  # The table keeps the model's old name.
        verbose_name = _("pause")
        verbose_name_plural = _("paused sending")

    def __str__(self) -> str:
        return f"Pause of {self.what}"

    @property
    def what(self) -> str:
        return "all texts" if self.kind == self.ALL else f"{self.kind or 'plain'} texts"

    @property
    def sentence(self) -> str:
        return f"Sending of {self.what} is paused by {self.actor or 'an unknown user'}: {self.reason}"


class SmsSuppression(models.Model):
    """A number on the suppression list.

    An operator's entry stops every message. An entry that comes from a STOP does not stop transactional messages.
    """

    class Source(models.TextChoices):
        OPERATOR = "operator", _("operator")
        STOP = "stop", _("asked to stop")

    phone = models.CharField(_("phone (E.164)"), max_length=16, unique=True)
    reason = models.CharField(max_length=200)
    actor = models.CharField(_("listed by"), max_length=150, blank=True, default="", editable=False)
    since = models.DateTimeField(default=timezone.now, editable=False)
    source = models.CharField(
        max_length=8, choices=Source, default=Source.OPERATOR, db_default=Source.OPERATOR, editable=False
    )

    class Meta:
        db_table = "sms_smsnever"  # The table keeps the model's old name.
        verbose_name = _("suppressed number")
        verbose_name_plural = _("do-not-text list")

    def __str__(self) -> str:
        return masked(self.phone)


class SmsInbound(models.Model):
    """An SMS that a person sent to the provider's number. `prune_sms` deletes it after 30 days."""

    class Command(models.TextChoices):
        NONE = "", _("none")
        STOP = "stop", _("stop")
        START = "start", _("start")
        HELP = "help", _("help")

    phone = models.CharField(_("phone (E.164)"), max_length=16)
    text = models.TextField(blank=True)
    short_code = models.CharField(max_length=40, blank=True, default="")
    command = models.CharField(max_length=5, choices=Command, blank=True, default="")
    # The time that the provider stated, limited to the 30 days before `received_at`. Without a valid time:
    # `received_at`.
    sent_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    # Hash of the received fields. It is unique, so that a repeated delivery of the same SMS is stored only once.
    digest = models.CharField(max_length=64, unique=True)

    class Meta:
        verbose_name = _("received SMS")
        verbose_name_plural = _("received SMS")
        indexes: ClassVar = [
            models.Index(fields=["phone", "received_at"], name="sms_inbound_phone"),
            models.Index(fields=["received_at"], name="sms_inbound_received"),
        ]

    def __str__(self) -> str:
        return f"SMS from {masked(self.phone)}"


class SmsDismissal(models.Model):
    """A dismissed group of failures. Its banner returns if a message queued later fails for the same reason."""

    status = models.CharField(max_length=12, choices=Status)
    reason = models.TextField(blank=True, default="")
    actor = models.CharField(max_length=150, blank=True, default="")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("dismissed failure")

    def __str__(self) -> str:
        return f"{self.status} dismissed by {self.actor}"


class SmsAlert(models.Model):
    """An alert about a problem. The row is deleted after the notices about the problem's start and end were sent."""

    name = models.CharField(max_length=60, unique=True)
    text = models.TextField()
    since = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    # `mailed`: the current notice was sent by e-mail, or ADMINS is empty. `posted`: the current notice was sent to the
    # webhook, or ALERT_WEBHOOK_URL is empty.
    mailed = models.BooleanField(default=False)
    posted = models.BooleanField(default=False)
    # No process starts to send a notice before this time: the problem is too recent, or a process is already sending
    # the notice.
    busy_until = models.DateTimeField(null=True, blank=True)
    # True if a process has begun to send the first notice of this alert.
    claimed = models.BooleanField(default=False, db_default=False)

    class Meta:
        verbose_name = _("alert")

    def __str__(self) -> str:
        return self.name
