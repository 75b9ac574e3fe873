"""Sentences about stakes: why one is over, what happens to its money, how its invite fares.

`Sentence` holds English for the API and is translated for pages. The operator's words for states are English only.
Sentences that one rule alone can raise stand beside that rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_noop as _

from game.models import Entry
from game.money import due_back
from sms.text import to_local


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` is a msgid; `values` fill its placeholders."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the English sentence with amounts as bare digits."""
        return self.text % self.values if self.values else self.text

    def translated(self) -> str:
        """Return the sentence in the active language, with separators in amounts."""
        text = gettext(self.text)
        shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in self.values.items()}
        return text % shown if shown else text


def translated(error: ValueError) -> str:
    """Return the translated sentence of an error that our own code raised."""
    return gettext(str(error))


# --- why a stake is over, for its player

REASONS = {
    "timed_out": _("Nobody joined in time. You may stake again."),
    "payment_failed": _("Your payment failed. You may stake again."),
    "replaced": _("A newer stake of yours took the place of this one."),
    "not_paid": _("This stake was not paid."),
    "refund_due": _("Your payment came too late to play."),
    "session_expired": _("The time of this match is over."),
    "left": _("You left the queue."),
}


def reason_of(entry: Entry) -> str:
    """Return the key of REASONS for an entry that is over."""
    return entry.reason or ("session_expired" if entry.session_id else "timed_out")


def end_of(entry: Entry) -> tuple[str, list[Sentence]]:
    """Return the reason why an entry is over, and its sentences: why, and what happens to the money."""
    payment = entry.payment
    reason = reason_of(entry)
    # The money came but the entry was never activated: too late, or after the provider had said that it failed.
    if payment.collected_at is not None and entry.opened_at is None and (payment.refund_due or payment.refunded_at):
        reason = "refund_due"
    return reason, [Sentence(REASONS.get(reason, _("This stake is over."))), *_money_of(entry)]


def _money_of(entry: Entry) -> list[Sentence]:
    payment = entry.payment
    values = {"amount": payment.amount, "phone": to_local(payment.phone)}
    if payment.refunded_at is not None:
        return [Sentence(_("%(amount)s UGX have been sent back to %(phone)s."), values)]
    if due_back(entry):
        return [Sentence(_("%(amount)s UGX will be refunded to %(phone)s."), values)]
    return []


# --- the state of a stake, for an operator

_STATES = {
    Entry.Status.AWAITING_PAYMENT: "waits for its payment",
    Entry.Status.OPEN: "waits for an opponent",
    Entry.Status.MATCHED: "in a match",
}
ENDS = {
    "timed_out": "nobody joined in time",
    "payment_failed": "over: the payment failed",
    "replaced": "over: a newer stake took its place",
    "not_paid": "over: it was not paid",
    "refund_due": "over: the payment came too late to play",
    "session_expired": "the match is over",
    "left": "the player left the queue",
}


def state_words(entry: Entry) -> str:
    """Describe the state as of now: an entry past its expiry is over, whatever its stored status."""
    state = entry.state
    if state != Entry.Status.EXPIRED:
        return _STATES[Entry.Status(state)]
    reason = reason_of(entry)
    return ENDS.get(reason, f"over: {reason}")


# --- the invite, for its sender, by the status of its message

INVITE_WORDS = {
    "queued": gettext_lazy("Your invite is being sent."),
    "sending": gettext_lazy("Your invite is being sent."),
    "sent": gettext_lazy("Your invite has been sent."),
    "delivered": gettext_lazy("Your invite has been delivered."),
    "undelivered": gettext_lazy(
        "Your invite has not reached your friend's phone: check the number, or share the code."
    ),
    "unknown": gettext_lazy("Your invite may have been sent, but that is not certain: share the code, to be safe."),
    "failed": gettext_lazy("Your invite could not be sent: check the number, or share the code."),
    "expired": gettext_lazy("Your invite could not be sent in time: share the code."),
    "rate_limited": gettext_lazy("Your friend was texted a moment ago, so your invite was not sent: share the code."),
    "cancelled": gettext_lazy("Your invite was stopped before it was sent: share the code."),
    "disabled": gettext_lazy("Texts are switched off at the moment, so your invite was not sent: share the code."),
}

# Sentences that `sms.text` raises. That package has no translations; listed here, makemessages finds them.
PHONE_SENTENCES = (
    _("The phone number is missing; write it like 0772123456 or +256772123456."),
    _("The phone number is too long; write it like 0772123456 or +256772123456."),
    _("Please use only digits, spaces and + in the phone number; write it like 0772123456 or +256772123456."),
    _("That is not a phone number; write it like 0772123456 or +256772123456."),
    _("That is not a Ugandan phone number; write it like 0772123456 or +256772123456."),
    _("That is not a mobile number, and only a mobile can receive an SMS; write it like 0772123456 or +256772123456."),
)
