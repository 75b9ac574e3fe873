"""Describe a payment to its player: who requests how much, how long the prompt lasts, and why the payment failed."""

import re
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from game.models import Entry
from game.pages.live import milliseconds, minutes_left
from game.wording import shown_phone
from payments.collection import RINGING
from payments.models import Payment
from sms import clock

_NETWORKS = {"mtn": "MTN", "airtel": "Airtel"}
_REQUESTED = (Payment.Collection.ASKING, Payment.Collection.ASKED, Payment.Collection.IN_DOUBT)

# Regular expressions for failure reasons of payment providers, each with a sentence for players. The first match is
# used.
_REASONS = (
    (r"low balance or|limit reached", _("There was not enough money in your account, or its limit is reached.")),
    (r"insufficient|not enough|balance", _("There was not enough money in your account.")),
    (r"\bpin\b", _("The PIN was wrong.")),
    (r"declin|reject|cancel|denied", _("The request was declined on your phone.")),
    (r"time ?out|timed out|expired|no response|not answer", _("The request was not approved in time.")),
    (r"limit|maximum|exceed", _("The amount is over your account's limit.")),
    (
        r"not registered|unknown subscriber|not found|inactive|not active|barred|blocked",
        _("This number has no mobile-money account that can pay."),
    ),
)


def network_name(payment: Payment) -> str:
    """Return the name under which players know the mobile money network, or "" if a third party collects the
    payment.
    """
    return _NETWORKS.get(payment.network, payment.network.title())


def paying(entry: Entry) -> dict[str, Any]:
    """Return template values for the page of an unpaid stake.

    `step` is one of:
    - `elsewhere`: a third party collects the payment
    - `soon`: the payment request is about to be sent
    - `ringing`: the phone shows the payment prompt, and no other request is sent until `ends`
    - `silent`: there was no answer for three minutes
    - `support`: there was no answer for a day
    """
    payment = entry.payment
    rings_until = payment.asked_at + RINGING if payment.asked_at else None
    number = shown_phone(payment.phone).replace(" ", "\u00a0")  # Non-breaking spaces keep the phone number on one line.
    context = {"network": network_name(payment), "number": number, "amount": payment.amount}
    if payment.collection == Payment.Collection.UNRESOLVED:
        return context | {"step": "support"}
    if payment.collection == Payment.Collection.DUE:
        return context | {"step": "soon"}
    if payment.collection not in _REQUESTED or rings_until is None:
        return context | {"step": "elsewhere"}
    if rings_until <= clock.now():
        return context | {"step": "silent"}
    return context | {
        "step": "ringing",
        "ambiguous": payment.collection == Payment.Collection.IN_DOUBT,
        "ends": milliseconds(rings_until),
        "minutes": minutes_left(rings_until),
    }


def prompt_may_be_open(entry: Entry) -> bool:
    """Return True if the player may still pay for this ended stake, because the phone may show the payment prompt."""
    payment = entry.payment
    return payment.status == Payment.Status.PENDING and payment.collection in _REQUESTED


def no_money_was_taken(payment: Payment) -> bool:
    """Return True if it is certain that the payer was not charged."""
    return payment.status == Payment.Status.FAILED and payment.collected_at is None and not payment.contested


def why_not_paid(payment: Payment) -> str:
    """Return the reason that the provider gave for a failed payment, or "" if it gave none.

    A known reason is returned in plain words, any other reason is quoted.
    """
    if payment.status != Payment.Status.FAILED or not payment.collection:
        return ""
    network = network_name(payment)
    if payment.asked_at is None:
        return gettext("We could not reach %(network)s.") % {"network": network}
    # Only show a reason that came from the provider. An operator's note must not be shown to players.
    if payment.settled_by not in ("asking", "answer") or not payment.reason:
        return ""
    reason = payment.reason.casefold().replace("_", " ")
    for pattern, sentence in _REASONS:
        if re.search(pattern, reason):
            return str(sentence)
    return gettext("%(network)s says: “%(words)s”") % {"network": network, "words": payment.reason.rstrip(".")}
