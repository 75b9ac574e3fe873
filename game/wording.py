"""Sentences about stakes: why a stake ended, what happens to its money, and whether its invite was sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_noop as _

from game.models import Entry
from game.payment_use import due_back
from sms.formats import spaced


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with values for its placeholders. `text` is a gettext msgid."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence in English, with amounts as plain digits."""
        return self.text % self.values if self.values else self.text

    def translated(self) -> str:
        """Return the sentence in the active language, with commas in amounts."""
        text = gettext(self.text)
        shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in self.values.items()}
        return text % shown if shown else text


def translated(error: ValueError) -> str:
    """Return the message of a ValueError in the active language. Only messages of this project have translations."""
    return gettext(str(error))


# Sentences for players, by the reason why a stake ended.

REASONS = {
    "timed_out": _("Nobody joined in time."),
    "payment_failed": _("Your payment failed. You can try again."),
    "replaced": _("You placed a newer stake, which replaced this one."),
    "not_paid": _("You did not pay for this stake."),
    "refund_due": _("Your payment came too late to play."),
    "session_expired": _("This match has ended."),
    "left": _("You cancelled this stake."),
    "contested": _("Your mobile-money provider took the payment back."),
}


def reason_of(entry: Entry) -> str:
    """Return the reason why an entry ended, as a key of REASONS."""
    return entry.reason or ("session_expired" if entry.session_id else "timed_out")


def end_of(entry: Entry) -> tuple[str, list[Sentence]]:
    """Return the reason why an entry ended, and sentences about the reason and the money."""
    payment = entry.payment
    reason = reason_of(entry)
    # The entry was paid but never activated, for example because the money came after the provider had reported FAILED.
    if payment.collected_at is not None and entry.opened_at is None and (payment.refund_due or payment.refunded_at):
        reason = "refund_due"
    return reason, [Sentence(REASONS.get(reason, _("This stake has ended."))), *money_of(entry)]


def money_of(entry: Entry) -> list[Sentence]:
    """Return a list with one sentence about the refund of this stake, or an empty list if there is no refund."""
    payment = entry.payment
    values = {"amount": payment.amount, "phone": spaced(payment.phone)}
    if payment.refunded_at is not None:
        return [Sentence(_("We sent %(amount)s UGX back to %(phone)s."), values)]
    if due_back(entry):
        return [Sentence(_("We will refund %(amount)s UGX to %(phone)s."), values)]
    return []


# Names for the states of a stake, shown to operators.

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
    "left": "cancelled by the player",
    "contested": "over: the provider took the payment back",
}


# Names for the result of a match, from the view of one player.
RESULTS = {"won": "match won", "lost": "match lost", "draw": "match drawn", "void": "match cancelled"}


def state_words(entry: Entry) -> str:
    """Return the current state of an entry in words. After the expiry time the entry counts as ended."""
    state = entry.state
    if state != Entry.Status.EXPIRED:
        return _STATES[Entry.Status(state)]
    reason = reason_of(entry)
    return ENDS.get(reason, f"over: {reason}")


# Sentences for the player who sent an invite, by the status of the invite message.

INVITE_STATUS = {
    "queued": gettext_lazy("Your invite is being sent."),
    "sending": gettext_lazy("Your invite is being sent."),
    "sent": gettext_lazy("Your invite has been sent."),
    "delivered": gettext_lazy("Your invite has been delivered."),
    "undelivered": gettext_lazy("Your invite did not reach your friend's phone. Check the number or share the code."),
    "unknown": gettext_lazy("We can't tell if your invite was sent. Share the code to be safe."),
    "failed": gettext_lazy("Your invite could not be sent. Check the number or share the code."),
    "expired": gettext_lazy("Your invite could not be sent in time. Share the code."),
    "rate_limited": gettext_lazy("Your friend got a text a moment ago, so your invite was not sent. Share the code."),
    "cancelled": gettext_lazy("Your friend could not be texted. Share the code."),
    "disabled": gettext_lazy("Texts are switched off at the moment, so your invite was not sent. Share the code."),
}

# Error messages of `sms.text`, repeated here so that makemessages finds and translates them.
PHONE_SENTENCES = (
    _("The phone number is missing. Write it like 0772 123 456 or +256 772 123 456."),
    _("The phone number is too long. Write it like 0772 123 456 or +256 772 123 456."),
    _("Please use only digits, spaces and + in the phone number. Write it like 0772 123 456 or +256 772 123 456."),
    _("That is not a phone number. Write it like 0772 123 456 or +256 772 123 456."),
    _("That is not a Ugandan phone number. Write it like 0772 123 456 or +256 772 123 456."),
    _(
        "That is not a mobile number, and only a mobile can receive an SMS. "
        "Write it like 0772 123 456 or +256 772 123 456."
    ),
)
