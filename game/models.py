"""Players, their entries in the queue, and the sessions that two entries make. Amounts are whole UGX."""

from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Right, Upper
from django.utils import timezone

from game import clock
from payments.models import Payment
from sms.text import mask_phone


def life() -> timedelta:
    """Return the lifetime of an active entry, which is also that of a session."""
    return timedelta(minutes=settings.QUEUE_EXPIRY_MINUTES)


class Player(models.Model):
    """One phone. Two stakes of the same phone wait for each other at its row's lock."""

    phone = models.CharField("phone (E.164)", max_length=16, unique=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        # Operators search by the last six digits.
        indexes: ClassVar = [models.Index(Right("phone", 6), name="player_last_digits")]

    def __str__(self) -> str:
        return mask_phone(self.phone)


class StakeLevel(models.Model):
    """An amount that is played for. Two equal stakes wait for each other at its row's lock."""

    amount = models.PositiveIntegerField("stake (UGX)", unique=True)

    def __str__(self) -> str:
        return f"{self.amount} UGX"


class Session(models.Model):
    """A match of two entries."""

    token = models.CharField(max_length=64, unique=True)
    stake_amount = models.PositiveIntegerField("stake (UGX)")
    prize_amount = models.PositiveIntegerField("prize (UGX)")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = "match"
        verbose_name_plural = "matches"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Match {self.pk} for {self.stake_amount:,} UGX"

    @property
    def status(self) -> str:
        return "active" if self.expires_at > clock.now() else "expired"


class Entry(models.Model):
    """One stake of one player: a place in the public queue, or a private match with a code."""

    class Status(models.TextChoices):
        AWAITING_PAYMENT = "awaiting_payment", "awaiting payment"
        OPEN = "queued", "queued"
        MATCHED = "matched", "matched"
        EXPIRED = "expired", "expired"

    player = models.ForeignKey(Player, on_delete=models.PROTECT, related_name="entries")
    payment = models.OneToOneField(Payment, on_delete=models.PROTECT, related_name="entry")
    stake_amount = models.PositiveIntegerField("stake (UGX)")
    display_name = models.CharField(max_length=50, blank=True, default="")
    status = models.CharField(max_length=16, choices=Status, default=Status.AWAITING_PAYMENT)
    reason = models.CharField("why it expired", max_length=32, blank=True, default="")
    match_code = models.CharField(max_length=6, null=True, blank=True, unique=True)
    # The match code that this player wants to join. Not reserved while the player pays.
    joins_code = models.CharField("joined with code", max_length=6, blank=True, default="")
    invite_phone = models.CharField("invited phone (E.164)", max_length=16, blank=True, default="")
    # The limit that kept the invite from being sent: a key of game.rules.limits.INVITE_REFUSALS.
    invite_refused = models.CharField(
        "why the invite was not sent", max_length=16, blank=True, default="", db_default=""
    )
    # The language of the page that the stake came from, and of its player's messages. "": the site's.
    language = models.CharField(max_length=8, blank=True, default="", db_default="")
    # Of an IPv6 address the /64, and in `client_site` the /48; null if the address was unreadable.
    client_address = models.GenericIPAddressField("address it came from", null=True, blank=True)
    client_site = models.GenericIPAddressField("site it came from", null=True, blank=True)
    session = models.ForeignKey(
        Session, on_delete=models.PROTECT, null=True, blank=True, related_name="entries", verbose_name="match"
    )
    # [refund_due] was queued for the payer.
    refund_told = models.BooleanField("refund SMS sent", default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(default=clock.now)
    opened_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # Set with status `expired`. An entry of a match whose session expires keeps its status.
    ended_at = models.DateTimeField(null=True, blank=True)

    # Not stored: the message about the payment was queued together with the match's.
    told_with_match = False

    class Meta:
        verbose_name = "stake"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["player"], condition=Q(status="queued"), name="one_open_entry"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["stake_amount", "opened_at", "id"], condition=Q(status="queued"), name="entry_waiting"
            ),
            models.Index(fields=["status", "expires_at"], name="entry_status"),
            models.Index(
                fields=["expires_at"],
                condition=Q(status="expired", session=None, refund_told=False, opened_at__isnull=False),
                name="entry_untold",
            ),
            # For refunds: an entry that is over without a match is refund due from that moment.
            models.Index(fields=["payment"], condition=Q(session=None, opened_at__isnull=False), name="entry_unplayed"),
            models.Index(Upper("display_name"), condition=~Q(display_name=""), name="entry_name"),
            models.Index(fields=["invite_phone", "opened_at"], condition=~Q(invite_phone=""), name="entry_invited"),
            models.Index(
                fields=["client_address", "opened_at"], condition=~Q(invite_phone=""), name="entry_invited_from"
            ),
            models.Index(fields=["client_site", "opened_at"], condition=~Q(invite_phone=""), name="entry_invited_site"),
            models.Index(
                fields=["client_address", "created_at"], condition=Q(opened_at=None), name="entry_unpaid_from"
            ),
            models.Index(fields=["client_site", "created_at"], condition=Q(opened_at=None), name="entry_unpaid_site"),
        ]

    def __str__(self) -> str:
        return f"Stake {self.pk} of {self.stake_amount:,} UGX"

    @property
    def phone(self) -> str:
        return self.player.phone

    @property
    def invite_key(self) -> str:
        """Return the dedupe key of the invite."""
        return f"invite:{self.pk}"

    @property
    def link_keys(self) -> tuple[str, str]:
        """Return the dedupe keys of the messages that may hold the player's link to the match, likelier first."""
        return f"session:{self.session_id}:{self.player_id}", f"payment:{self.payment_id}:success"

    @property
    def state(self) -> str:
        """Return the status as of now: an entry past its expiry is `expired`, whatever is stored."""
        ends = self.session.expires_at if self.session else self.expires_at
        if self.status in (self.Status.OPEN, self.Status.MATCHED) and ends and ends <= clock.now():
            return str(self.Status.EXPIRED)
        return self.status

    @property
    def is_live(self) -> bool:
        """Return True if the entry awaits its payment, waits for an opponent, or is in a match that lasts."""
        return self.state != self.Status.EXPIRED

    @property
    def opponent(self) -> "Entry | None":
        if self.session is None:
            return None
        return next((entry for entry in self.session.entries.all() if entry.pk != self.pk), None)

    def start_life(self, now: datetime) -> None:
        """Make the entry active from `now`; the caller saves."""
        self.status, self.reason, self.ended_at = self.Status.OPEN, "", None
        self.opened_at, self.expires_at = now, now + life()


class _Attempt(models.Model):
    """One thing that a client did, for game.rules.limits to count. Kept for an hour at most."""

    client_address = models.GenericIPAddressField(null=True)
    client_site = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class WrongCode(_Attempt):
    """A match code that nobody has."""

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["client_address", "at"], name="wrong_code_from"),
            models.Index(fields=["client_site", "at"], name="wrong_code_site"),
            models.Index(fields=["at"], name="wrong_code_at"),
        ]


class LinkRequest(_Attempt):
    """Somebody asked for the link of some number's stake."""

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["client_address", "at"], name="link_request_from"),
            models.Index(fields=["client_site", "at"], name="link_request_site"),
            models.Index(fields=["at"], name="link_request_at"),
        ]


class RefusedStake(_Attempt):
    """A stake refused because of what its number has already: an active stake, a payment prompt."""

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["client_address", "at"], name="refused_stake_from"),
            models.Index(fields=["client_site", "at"], name="refused_stake_site"),
            models.Index(fields=["at"], name="refused_stake_at"),
        ]


class GameWorker(models.Model):
    """A running `game_worker`, which updates `seen_at` every BEAT_SECONDS."""

    BEAT_SECONDS = 5.0

    key = models.CharField(max_length=32, unique=True)
    name = models.CharField("host and process", max_length=100)
    started_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name = "game worker"

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        return self.seen_at > self._silent_since()

    @classmethod
    def alive(cls) -> int:
        """Return the number of running workers."""
        return cls.objects.filter(seen_at__gt=cls._silent_since()).count()

    @classmethod
    def _silent_since(cls) -> datetime:
        return clock.now() - timedelta(seconds=4 * cls.BEAT_SECONDS)
