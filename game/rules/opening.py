"""A paid entry opens: its life begins, and whoever waits for it is met."""

from game import clock
from game.models import Entry, Player
from game.rules.ending import end_what_is_over
from game.rules.limits import admit_invite
from game.rules.locks import lock_level, locked_player
from game.rules.matching import match
from game.signals import private_match_created
from payments.models import Payment


def has_open_entry(player: Player) -> bool:
    return Entry.objects.filter(player=player, status=Entry.Status.OPEN).exists()


def open_entry(entry: Entry, *, paid_now: bool = False) -> None:
    """Open a paid entry, and match it if somebody waits. The caller holds the player's and the level's lock.

    `paid_now`: as for `match`.
    """
    entry.open_now(clock.now())
    admit_invite(entry)
    entry.save()
    if entry.match_code:
        private_match_created.send_robust(Entry, entry=entry, invite_phone=entry.invite_phone)
    else:
        match(entry, paid_now=paid_now)


def open_paid(payment: Payment) -> Entry | None:
    """Open the entry of a payment that has succeeded; an expired one again. Returns the entry, if there is one.

    Where the player has another entry open it cannot be: then the payment is marked for a refund. The caller
    holds the payment's lock and a transaction.
    """
    entry = Entry.objects.select_related("player").filter(payment=payment).first()
    if entry is None or payment.refund_due or payment.refunded_at or payment.contested:
        return entry
    locked_player(entry.player.phone)
    lock_level(entry.stake_amount)
    entry.refresh_from_db(fields=["status", "reason", "opened_at", "session", "expires_at"])
    if entry.opened_at is not None:
        return entry  # it had its time
    end_what_is_over(entry.player)
    if has_open_entry(entry.player):
        Payment.objects.filter(pk=payment.pk).update(refund_due=True)
        payment.refund_due = True
        if entry.status != Entry.Status.EXPIRED:
            entry.status, entry.reason = Entry.Status.EXPIRED, "refund_due"
            entry.save(update_fields=["status", "reason"])
        return entry
    open_entry(entry, paid_now=True)
    return entry


def left_unopened() -> list[Payment]:
    """Paid entries that a crash or a failing receiver left unopened."""
    return list(
        Payment.objects.filter(
            status=Payment.Status.SUCCESS,
            refund_due=False,
            refunded_at=None,
            contested=False,
            entry__isnull=False,
            entry__opened_at=None,
        )
    )
