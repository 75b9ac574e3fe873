"""`SmsMessage`: at once the outbox, the audit log and what the admin shows; `SmsEvent`: what happened to each."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from sms.text.redaction import mask_phone


class Status(models.TextChoices):
    QUEUED = "queued", _("queued")
    SENDING = "sending", _("sending")
    # DMark was asked and did not answer in full, or not as itself: it may have the text.
    UNKNOWN = "unknown", _("unknown")
    SENT = "sent", _("sent")
    DELIVERED = "delivered", _("delivered")
    UNDELIVERED = "undelivered", _("undelivered")
    FAILED = "failed", _("failed")
    RATE_LIMITED = "rate_limited", _("rate limited")
    EXPIRED = "expired", _("expired")
    DISABLED = "disabled", _("disabled")
    CANCELLED = "cancelled", _("cancelled")


# An acceptance by DMark lifts all but these, which are further along already.
ACCEPTED = (Status.SENT, Status.UNDELIVERED, Status.DELIVERED)
RESENDABLE = (
    Status.FAILED,
    Status.UNDELIVERED,
    Status.UNKNOWN,
    Status.EXPIRED,
    Status.RATE_LIMITED,
    Status.DISABLED,
)
# Ends after which nobody can say that the phone has the text.
UNSUCCESSFUL = (Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN, Status.EXPIRED, Status.RATE_LIMITED)
OPEN = (Status.QUEUED, Status.SENDING)


class SmsMessage(models.Model):
    """One text to one phone. Times are aware and UTC."""

    phone = models.CharField(_("phone (E.164)"), max_length=16)
    text = models.TextField()
    kind = models.CharField(max_length=40, blank=True, default="")
    status = models.CharField(max_length=12, choices=Status, default=Status.QUEUED)
    dedupe_key = models.CharField(_("reference"), max_length=200, null=True, blank=True, unique=True)
    provider_id = models.CharField(_("DMark's id"), max_length=100, blank=True, default="")
    attempts = models.PositiveIntegerField(_("send requests"), default=0)
    retries = models.PositiveIntegerField(_("times put back for later"), default=0)
    # Requests that were written and got no complete answer: each may have brought the message to the phone.
    ambiguous_requests = models.PositiveSmallIntegerField(
        _("ambiguous requests"), default=0, db_default=0, db_column="doubts"
    )
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    due_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    # When its link was opened first: that it helped, not by whom.
    opened_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What it costs, kept because the text may be blanked; 0: queued before this was counted. The default is the
    # database's too, so that a process of the version before may still queue while this one is rolled out.
    segments = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # The text holds a link that is a credential (SMS_REDACT), to be blanked once nobody needs it.
    holds_link = models.BooleanField(default=False, db_default=False, editable=False)
    # When DMark was last asked for a report that never came.
    polled_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Who sends it now, and until when the others leave it alone.
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
            # Partial, so that a claim costs the same with a million old rows as with none.
            models.Index(fields=["expires_at", "id"], condition=Q(status="queued"), name="sms_queued"),
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
    """A line of a message's way: a request to DMark, a report of DMark's, an act of an operator."""

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
    answer = models.TextField(_("DMark's answer, cut short and redacted"), blank=True, default="")
    # What it means for all texts, not for this one alone: a value of `sms.errors.Trouble`.
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
    """A running `sms_worker`, which says every few seconds that it lives. Deleted by one that ends in order."""

    claimer = models.CharField(max_length=32, unique=True)
    name = models.CharField(_("host and process"), max_length=100)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    sent = models.PositiveIntegerField(default=0)
    # Why it does not send: a value of `sms.errors.Trouble`, and DMark's words; empty while it does.
    trouble = models.CharField(max_length=12, blank=True, default="", db_default="")
    paused = models.TextField(blank=True, default="")
    # What is with DMark at this moment: how many texts, since when the longest of them, and at which step that is.
    in_flight = models.PositiveIntegerField(default=0, db_default=0)
    longest_since = models.DateTimeField(null=True, blank=True)
    longest_step = models.CharField(max_length=40, blank=True, default="", db_default="")
    # Seconds for which a receiver of `sms_sent` or `sms_failed` has kept other signals waiting.
    receivers_behind = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        verbose_name = _("worker")

    def __str__(self) -> str:
        return self.name


class SmsDay(models.Model):
    """How many texts of a kind a past day had in each status; kept when the texts themselves are deleted."""

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
    """An operator's order that no text leaves for now, or none of a kind. Who resumes deletes it."""

    ALL = "*"

    kind = models.CharField(max_length=40, unique=True, default=ALL, blank=True)
    reason = models.CharField(max_length=200)
    actor = models.CharField(_("paused by"), max_length=150, blank=True, default="", editable=False)
    since = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "sms_smshold"  # its name before the model was renamed
        verbose_name = _("pause")
        verbose_name_plural = _("pauses of sending")

    def __str__(self) -> str:
        return f"Pause of {self.what}"

    @property
    def what(self) -> str:
        return "all texts" if self.kind == self.ALL else f"{self.kind or 'plain'} texts"


class SmsSuppression(models.Model):
    """The suppression list: numbers that must not be texted.

    An operator's entry stops every message. If the person asked to stop, transactional kinds are still sent.
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
        db_table = "sms_smsnever"  # its name before the model was renamed
        verbose_name = _("number that is never texted")
        verbose_name_plural = _("numbers that are never texted")

    def __str__(self) -> str:
        return mask_phone(self.phone)


class SmsInbound(models.Model):
    """An SMS that a person sent to the provider's number. Kept for 30 days."""

    class Command(models.TextChoices):
        NONE = "", _("none")
        STOP = "stop", _("stop")
        START = "start", _("start")
        HELP = "help", _("help")

    phone = models.CharField(_("phone (E.164)"), max_length=16)
    text = models.TextField(blank=True)
    short_code = models.CharField(max_length=40, blank=True, default="")
    command = models.CharField(max_length=5, choices=Command, blank=True, default="")
    # The provider's time of the message, never later than `received_at`.
    sent_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    # A hash of the fields as received, so that a repeated delivery is stored once.
    digest = models.CharField(max_length=64, unique=True)

    class Meta:
        verbose_name = _("received SMS")
        verbose_name_plural = _("received SMS")
        indexes: ClassVar = [
            models.Index(fields=["phone", "received_at"], name="sms_inbound_phone"),
            models.Index(fields=["received_at"], name="sms_inbound_received"),
        ]

    def __str__(self) -> str:
        return f"SMS from {mask_phone(self.phone)}"


class SmsDismissal(models.Model):
    """A dismissed group of failures. Its banner is hidden until another message joins the group."""

    status = models.CharField(max_length=12, choices=Status)
    reason = models.TextField(blank=True, default="")
    actor = models.CharField(max_length=150, blank=True, default="")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("dismissed failure")

    def __str__(self) -> str:
        return f"{self.status} dismissed by {self.actor}"


class SmsAlert(models.Model):
    """Something of which a person is told once when it begins and once when it ends; gone when both are done."""

    name = models.CharField(max_length=60, unique=True)
    text = models.TextField()
    since = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    # What of the present news, its begin or its end, is out.
    mailed = models.BooleanField(default=False)
    posted = models.BooleanField(default=False)
    # Who tells it now has until then; of two workers one does.
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("alert")

    def __str__(self) -> str:
        return self.name
