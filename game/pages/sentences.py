"""Sentences that pages show in the player's language and that no template holds."""

from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

# What became of an invite, by its message's status.
INVITE_WORDS = {
    "queued": _("Your invite is being sent."),
    "sending": _("Your invite is being sent."),
    "sent": _("Your invite has been sent."),
    "delivered": _("Your invite has been delivered."),
    "undelivered": _("Your invite has not reached your friend's phone: check the number, or share the code."),
    "unknown": _("Your invite may have been sent, but that is not certain: share the code, to be safe."),
    "failed": _("Your invite could not be sent: check the number, or share the code."),
    "expired": _("Your invite could not be sent in time: share the code."),
    "rate_limited": _("Your friend was texted a moment ago, so your invite was not sent: share the code."),
    "cancelled": _("Your invite was stopped before it was sent: share the code."),
    "disabled": _("Texts are switched off at the moment, so your invite was not sent: share the code."),
}

# The sentences of `sms.phone`, which knows nothing of pages; here they are found for translation.
PHONE_SENTENCES = (
    gettext_noop("The phone number is missing; write it like 0772123456 or +256772123456."),
    gettext_noop("The phone number has characters that no number has; write it like 0772123456 or +256772123456."),
    gettext_noop("That is not a phone number; write it like 0772123456 or +256772123456."),
    gettext_noop("That is not a Ugandan phone number; write it like 0772123456 or +256772123456."),
    gettext_noop(
        "That is not a mobile number, and only a mobile can receive a text; write it like 0772123456 or +256772123456."
    ),
)


def translated(error: ValueError) -> str:
    """The sentence of an error of ours."""
    return gettext(str(error))
