"""Models of the game: players, stakes (`Entry`) and matches of two stakes (`Session`). All amounts are whole UGX."""

from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Right, Upper
from django.utils import timezone

from game import keys
from payments.models import Payment
from payments.statements import Select
from sms import clock
from sms.formats import masked


def stake_life() -> timedelta:
    """Return how long an active stake waits for an opponent before it expires."""
    return timedelta(minutes=settings.QUEUE_EXPIRY_MINUTES)


def match_life() -> timedelta:
    """Return how long a match lasts."""
    return timedelta(minutes=settings.QUEUE_EXPIRY_MINUTES)


class Player(models.Model):
    """A player, identified by a phone number. The row is locked while the player places, pays or cancels a stake."""

    phone = models.CharField("phone (E.164)", max_length=16, unique=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        # Operators search by the last six digits of a phone number.
        indexes: ClassVar = [models.Index(Right("phone", 6), name="player_last_digits")]

    def __str__(self) -> str:
        return masked(self.phone)


class StakeLevel(models.Model):
    """An amount for which players stake. The row is locked while a stake of this amount looks for an opponent."""

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
    # The match code of the friend whom this player wants to join. Somebody else may join that match before this player
    # has paid.
    joins_code = models.CharField("joined with code", max_length=6, blank=True, default="")
    invite_phone = models.CharField("invited phone (E.164)", max_length=16, blank=True, default="")
    # A key of `game.rules.limits.INVITE_REFUSALS` if a limit prevented the invite, otherwise empty.
    invite_refused = models.CharField(
        "why the invite was not sent", max_length=16, blank=True, default="", db_default=""
    )
    # The language of the page on which the player staked, also used for messages. Empty means LANGUAGE_CODE.
    language = models.CharField(max_length=8, blank=True, default="", db_default="")
    # The client's IP address when the stake was placed. For IPv6, `client_address` is the /64 network and `client_site`
    # the /48 network.
    client_address = models.GenericIPAddressField("address it came from", null=True, blank=True)
    client_site = models.GenericIPAddressField("site it came from", null=True, blank=True)
    session = models.ForeignKey(
        Session,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="entries",
        verbose_name="match",
        db_index=False,
    )
    # True if the refund message of a stake that ended without a match has been queued.
    refund_told = models.BooleanField("refund SMS queued", default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(default=clock.now)
    opened_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # The time at which the status became `expired`. The status of a matched entry stays `matched`, even when its match
    # expires.
    ended_at = models.DateTimeField(null=True, blank=True)

    # Not a database field. True if a queued message tells the player about both the payment and the match.
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
            models.Index(fields=["session"], condition=Q(session__isnull=False), name="entry_session"),
            models.Index(fields=["status", "expires_at"], name="entry_status"),
            models.Index(
                fields=["expires_at"],
                condition=Q(status="expired", session=None, refund_told=False, opened_at__isnull=False),
                name="entry_untold",
            ),
            # An index of stakes that were activated but not matched. When such a stake expires, its money is due for
            # refund.
            models.Index(fields=["payment"], condition=Q(session=None, opened_at__isnull=False), name="entry_unplayed"),
            # Without the id, PostgreSQL would not use this index to find the newest entries with a given name.
            models.Index(Upper("display_name"), "id", condition=~Q(display_name=""), name="entry_newest_name"),
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
        """Return the dedupe key of the message that invites the friend."""
        return keys.invite(self.pk)

    @property
    def link_keys(self) -> tuple[str, str]:
        """Return the dedupe keys of the messages that can contain the match link: `match_found`, `payment_success`."""
        return keys.match_found(self.session_id, self.player_id), keys.payment(self.payment_id, "success")

    @property
    def state(self) -> str:
        """Return the current status, which is `expired` as soon as the entry or its match has expired."""
        ends = self.session.expires_at if self.session else self.expires_at
        if self.status in (self.Status.OPEN, self.Status.MATCHED) and ends and ends <= clock.now():
            return str(self.Status.EXPIRED)
        return self.status

    @property
    def is_live(self) -> bool:
        """Return True if the entry is waiting for its payment or an opponent, or is in a match that has not expired."""
        return self.state != self.Status.EXPIRED

    @property
    def opponent(self) -> "Entry | None":
        if self.session is None:
            return None
        prefetched = getattr(self.session, "_prefetched_objects_cache", {}).get("entries")
        entries = _OF_SESSION(session=self.session.pk) if prefetched is None else prefetched
        return next((entry for entry in entries if entry.pk != self.pk), None)

    def start_life(self, now: datetime) -> None:
        """Set the fields of an entry that becomes active at the time `now`. The caller saves the entry."""
        self.status, self.reason, self.ended_at = self.Status.OPEN, "", None
        self.opened_at, self.expires_at = now, now + stake_life()


_OF_SESSION = Select(lambda session: Entry.objects.filter(session=session))


class _Attempt(models.Model):
    """An action of a client, counted for a limit in `game.rules.limits`. The row is deleted after an hour."""

    client_address = models.GenericIPAddressField(null=True)
    client_site = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


def _attempt_indexes(name: str) -> list[models.Index]:
    return [
        models.Index(fields=["client_address", "at"], name=f"{name}_from"),
        models.Index(fields=["client_site", "at"], name=f"{name}_site"),
        models.Index(fields=["at"], name=f"{name}_at"),
    ]


class WrongCode(_Attempt):
    """An attempt to use a match code that does not exist."""

    class Meta:
        indexes: ClassVar = _attempt_indexes("wrong_code")


class LinkRequest(_Attempt):
    """A request for the SMS of *Text me my link*."""

    class Meta:
        indexes: ClassVar = _attempt_indexes("link_request")


class RefusedStake(_Attempt):
    """A stake that was refused, for example because its phone number already has an active stake."""

    class Meta:
        indexes: ClassVar = _attempt_indexes("refused_stake")


class GameWorker(models.Model):
    """A running `game_worker` process. It updates `seen_at` every BEAT_SECONDS."""

    BEAT_SECONDS = 5.0

    key = models.CharField(max_length=32, unique=True)
    name = models.CharField("host and process", max_length=100)
    started_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name = "background worker"

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        return self.seen_at > self._silent_since()

    @classmethod
    def alive(cls) -> int:
        """Return the number of `game_worker` processes that are running."""
        return cls.objects.filter(seen_at__gt=cls._silent_since()).count()

    @classmethod
    def _silent_since(cls) -> datetime:
        return clock.now() - timedelta(seconds=4 * cls.BEAT_SECONDS)
