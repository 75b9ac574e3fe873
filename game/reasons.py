"""Why an entry is over, in words for its player; the API says them in English, a page in the player's language."""

from django.utils.translation import gettext_noop as _

from game.models import Entry

REASONS = {
    "timed_out": _("Nobody joined in time. You may stake again."),
    "payment_failed": _("Your payment failed. You may stake again."),
    "replaced": _("A newer stake of yours took the place of this one."),
    "not_paid": _("This stake was not paid."),
    "refund_due": _("Your payment came too late to play; support will refund it."),
    "session_expired": _("The time of this match is over."),
    "left": _("You left the queue."),
}


def end_of(entry: Entry) -> tuple[str, list[str]]:
    """The reason, and the sentences that say it."""
    held = entry.payment.refund_due or entry.payment.refunded_at is not None
    if held and entry.opened_at is None:
        return "refund_due", [REASONS["refund_due"]]
    reason = entry.reason or ("session_expired" if entry.session else "timed_out")
    refund = [_("Your stake will be refunded.")] if held else []
    return reason, [REASONS.get(reason, _("This stake is over.")), *refund]
