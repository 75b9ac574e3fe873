"""Why an entry is over and what becomes of its money, in words for its player."""

from django.utils.translation import gettext_noop as _

from game.models import Entry
from game.money import due_back
from game.sentences import Sentence
from sms.text import to_local

REASONS = {
    "timed_out": _("Nobody joined in time. You may stake again."),
    "payment_failed": _("Your payment failed. You may stake again."),
    "replaced": _("A newer stake of yours took the place of this one."),
    "not_paid": _("This stake was not paid."),
    "refund_due": _("Your payment came too late to play."),
    "session_expired": _("The time of this match is over."),
    "left": _("You left the queue."),
}


def end_of(entry: Entry) -> tuple[str, list[Sentence]]:
    """The reason, and the sentences that say it."""
    payment = entry.payment
    reason = entry.reason or ("session_expired" if entry.session else "timed_out")
    # Its money came, and it never opened: too late, or after the provider had said that it failed.
    if payment.collected_at is not None and entry.opened_at is None and (payment.refund_due or payment.refunded_at):
        reason = "refund_due"
    return reason, [Sentence(REASONS.get(reason, _("This stake is over."))), *_of_its_money(entry)]


def _of_its_money(entry: Entry) -> list[Sentence]:
    payment = entry.payment
    values = {"amount": payment.amount, "phone": to_local(payment.phone)}
    if payment.refunded_at is not None:
        return [Sentence(_("%(amount)s UGX have been sent back to %(phone)s."), values)]
    if due_back(entry):
        return [Sentence(_("%(amount)s UGX will be refunded to %(phone)s."), values)]
    return []
