"""The payment as its player sees it: who asks for how much, how long, and why a payment failed."""

import re
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from game import clock
from game.models import Entry
from game.pages.live import milliseconds, minutes_left
from game.wording import shown_phone
from payments.collection import RINGING
from payments.models import Payment

_NETWORKS = {"mtn": "MTN", "airtel": "Airtel"}
_REQUESTED = (Payment.Collection.ASKING, Payment.Collection.ASKED, Payment.Collection.IN_DOUBT)

# Patterns of providers' reasons and the sentence for each. The first pattern that matches is used.
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
    """Return the network's name as players know it; "" if a third party collects."""
    return _NETWORKS.get(payment.network, payment.network.title())


def paying(entry: Entry) -> dict[str, Any]:
    """Return the template's values for an unpaid stake.

    `step`:
    - `elsewhere`: a third party collects
    - `soon`: the payment request is about to be sent
    - `ringing`: the phone shows the payment prompt; no other request is sent until `ends`
    - `silent`: three minutes without an answer
    - `support`: a day without an answer
    """
    payment = entry.payment
    rings_until = payment.asked_at + RINGING if payment.asked_at else None
    number = shown_phone(payment.phone).replace(" ", "\u00a0")  # kept on one line
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
    """Return True if a stake that has ended can still be paid by a prompt on the phone."""
    payment = entry.payment
    return payment.status == Payment.Status.PENDING and payment.collection in _REQUESTED


def no_money_was_taken(payment: Payment) -> bool:
    """Return True if it is certain that the payer was not charged."""
    return payment.status == Payment.Status.FAILED and payment.collected_at is None and not payment.contested


def why_not_paid(payment: Payment) -> str:
    """Return the provider's reason in plain words, or quoted if none matches; "" if there is none."""
    if payment.status != Payment.Status.FAILED or not payment.collection:
        return ""
    network = network_name(payment)
    if payment.asked_at is None:
        return gettext("We could not reach %(network)s.") % {"network": network}
    # An operator's note is not for players.
    if payment.settled_by not in ("asking", "answer") or not payment.reason:
        return ""
    reason = payment.reason.casefold().replace("_", " ")
    for pattern, sentence in _REASONS:
        if re.search(pattern, reason):
            return str(sentence)
    return gettext("%(network)s says: “%(words)s”") % {"network": network, "words": payment.reason.rstrip(".")}
