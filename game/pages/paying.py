"""What a player sees of the payment: who asks whom for how much, for how long, and why it was not paid."""

import re
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from game import clock
from game.models import Entry
from game.pages.live import milliseconds, minutes_left
from payments.collecting import RINGING
from payments.models import Payment
from sms.text import to_local

_NETWORKS = {"mtn": "MTN", "airtel": "Airtel"}
_RINGS = (Payment.Collection.ASKING, Payment.Collection.ASKED, Payment.Collection.IN_DOUBT)

# What providers say when money does not come, in the order in which it is looked for.
_WORDS = (
    (r"low balance or|limit reached", _("There was not enough money on the account, or its limit is reached.")),
    (r"insufficient|not enough|balance", _("There was not enough money on the account.")),
    (r"\bpin\b", _("The PIN was not right.")),
    (r"declin|reject|cancel|denied", _("The request was declined on the phone.")),
    (r"time ?out|timed out|expired|no response|not answer", _("Nobody answered it in time.")),
    (r"limit|maximum|exceed", _("The account's limit does not allow this amount.")),
    (
        r"not registered|unknown subscriber|not found|inactive|not active|barred|blocked",
        _("This number has no mobile-money account that can pay."),
    ),
)


def network_name(payment: Payment) -> str:
    """As players know it; "" where somebody else collects."""
    return _NETWORKS.get(payment.network, payment.network.title())


def paying(entry: Entry) -> dict[str, Any]:
    """For the template, of a stake that awaits its payment.

    `step`: `elsewhere` somebody else collects; `soon` the phone is about to be asked; `ringing` it is asked, and no
    other request goes out until `ends`; `silent` no answer came in that time; `support` none came for a day.
    """
    payment = entry.payment
    rings_until = payment.asked_at + RINGING if payment.asked_at else None
    context = {"network": network_name(payment), "number": to_local(payment.phone), "amount": payment.amount}
    if payment.collection == Payment.Collection.UNRESOLVED:
        return context | {"step": "support"}
    if payment.collection == Payment.Collection.DUE:
        return context | {"step": "soon"}
    if payment.collection not in _RINGS or rings_until is None:
        return context | {"step": "elsewhere"}
    if rings_until <= clock.now():
        return context | {"step": "silent"}
    return context | {
        "step": "ringing",
        "doubt": payment.collection == Payment.Collection.IN_DOUBT,
        "ends": milliseconds(rings_until),
        "minutes": minutes_left(rings_until),
    }


def may_still_ring(entry: Entry) -> bool:
    """Whether a stake that is over may yet be paid by a request that is on the phone."""
    payment = entry.payment
    return payment.status == Payment.Status.PENDING and payment.collection in _RINGS


def why_not_paid(payment: Payment) -> str:
    """The provider's reason in plain words; its own, quoted, where we know none; "" where it gave none."""
    if payment.status != Payment.Status.FAILED or not payment.collection:
        return ""
    network = network_name(payment)
    if payment.asked_at is None:
        return gettext("%(network)s could not be reached, so you were asked for nothing.") % {"network": network}
    # An operator's note is not for players.
    if payment.settled_by not in ("asking", "answer") or not payment.reason:
        return ""
    said = payment.reason.casefold().replace("_", " ")
    for pattern, sentence in _WORDS:
        if re.search(pattern, said):
            return str(sentence)
    return gettext("%(network)s says: “%(words)s”") % {"network": network, "words": payment.reason.rstrip(".")}
