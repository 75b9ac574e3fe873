"""The page of one stake, from its payment until its match or refund, and the form *Text me my link*."""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from game.etag import current_tag
from game.models import Entry
from game.notifications import text_own_link
from game.pages.cookies import (
    ASKED_COOKIE,
    may_see,
    own_stakes,
    remember,
    remember_own_stake,
    remember_stake,
    remembered,
    stake_of,
)
from game.pages.forms import LinkForm
from game.pages.live import FOREIGN_LINK, milliseconds, minutes_left, not_modified, page, sorry, to_match, with_retry
from game.payment_use import due_back
from game.rules import ending
from game.rules.limits import INVITE_REFUSALS, client_address, count_link_request
from game.rules.validation import Refused, prize
from game.tokens import entry_of
from game.wording import INVITE_STATUS, end_of
from payments.collection import RINGING
from payments.models import Payment
from payments.providers.declines import Decline, read_decline
from sms import clock, conf, networks
from sms.formats import spaced, ugx
from sms.models import SmsMessage

logger = logging.getLogger("game.link")


@never_cache
@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """Redirect to the stake of the token `pt` (from an SMS), or to this browser's newest stake if there is no token."""
    if token := request.GET.get("pt", ""):
        return _follow_link(request, token)
    stakes = own_stakes(request)
    return redirect("waiting", stakes[0].pk) if stakes else redirect("stake")


@never_cache
@require_safe
def waiting(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a stake to a browser that has the stake's cookie. If the stake is matched, redirect to its match."""
    if not may_see(request, pk):
        return redirect("link")
    tag = current_tag(pk, get_language())
    if unchanged := not_modified(request, tag):
        return unchanged
    entry = stake_of(request, pk)
    if entry is None:
        return redirect("link")
    if entry.session is not None:
        return to_match(entry.session, entry)
    may_change = entry.is_live or prompt_may_be_open(entry) or due_back(entry)
    return page(request, "waiting", _context(entry), tag, live=may_change)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a stake, unless it has already been matched."""
    entry = stake_of(request, pk)
    if entry is not None:
        ending.cancel(entry)
    return redirect("waiting", pk)


def _follow_link(request: HttpRequest, token: str) -> HttpResponse:
    entry = entry_of(token)
    if entry is None:
        return sorry(request, 403, FOREIGN_LINK)
    response = redirect("waiting", entry.pk)
    # The start page lists the stake only if this browser requested the link. A link forwarded by somebody else does not
    # count.
    if remembered(request, ASKED_COOKIE, "/waiting") == entry.phone:
        remember_own_stake(request, response, entry)
    else:
        remember_stake(response, entry)
    return response


def _context(entry: Entry) -> dict[str, Any]:
    state, payment = entry.state, entry.payment
    reason, sentences = end_of(entry) if state == Entry.Status.EXPIRED else ("", [])
    asks = paying(entry) if state == Entry.Status.AWAITING_PAYMENT else None
    why = why_not_paid(payment)
    # If the reason for the failed payment is known (`why`), it replaces the general sentence "Your payment failed.".
    explained = [gettext("You can try again.")] if why else [sentence.translated() for sentence in sentences]
    return {
        "entry": entry,
        "state": state,
        "heading": _heading(entry, asks),
        "reason": reason,
        "sentences": [why, *explained] if why else explained,
        "paying": asks,
        "paid": payment.collected_at is not None,
        "own_number": spaced(entry.phone),
        "prompt_may_be_open": state == Entry.Status.EXPIRED and prompt_may_be_open(entry),
        "due_back": due_back(entry),
        "refunded": payment.refunded_at is not None,
        "prize": prize(entry.stake_amount),
        "minutes": minutes_left(entry.expires_at),
        "ends": milliseconds(entry.expires_at),
        "join_url": f"{settings.FRONTEND_URL.rstrip('/')}/?match_code={entry.match_code or ''}",
        **_invite(entry),
    }


def _heading(entry: Entry, asks: dict[str, Any] | None) -> str:
    """Return the heading and title of the page. The heading says what the player most wants to know."""
    if asks is not None:
        if asks["step"] == "ringing":
            return gettext("Confirm %(amount)s on your phone") % {"amount": ugx(asks["amount"])}
        return gettext("Waiting for your payment")
    if entry.is_live:
        return gettext("Waiting for your friend") if entry.match_code else gettext("Searching for an opponent")
    if entry.payment.refunded_at is not None:
        return gettext("You got %(amount)s back") % {"amount": ugx(entry.payment.amount)}
    if due_back(entry):
        return gettext("You are getting %(amount)s back") % {"amount": ugx(entry.payment.amount)}
    return gettext("No money was taken") if no_money_was_taken(entry.payment) else gettext("This stake has ended")


def _invite(entry: Entry) -> dict[str, str]:
    message = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    if message is not None:
        sentence = str(INVITE_STATUS[message.status])
    else:  # gettext("") would return the header of the translation catalog.
        sentence = gettext(INVITE_REFUSALS[entry.invite_refused]) if entry.invite_refused in INVITE_REFUSALS else ""
    return {
        "invite_status": message.status if message else "",
        "invite_sentence": sentence,
        "invite_number": spaced(entry.invite_phone) if entry.invite_phone else "",
    }


_REQUESTED = (Payment.Collection.ASKING, Payment.Collection.ASKED, Payment.Collection.IN_DOUBT)

# Sentences for players about a failed payment, by the reason that `read_decline` finds. Without such a reason, the page
# quotes the provider's sentence.
_DECLINES = {
    Decline.BALANCE_OR_LIMIT: _("There was not enough money in your account, or its limit is reached."),
    Decline.BALANCE: _("There was not enough money in your account."),
    Decline.PIN: _("The PIN was wrong."),
    Decline.REFUSED: _("The request was declined on your phone."),
    Decline.LATE: _("The request was not approved in time."),
    Decline.LIMIT: _("The amount is over your account's limit."),
    Decline.NO_ACCOUNT: _("This number has no mobile-money account that can pay."),
}


def paying(entry: Entry) -> dict[str, Any]:
    """Return template values for the page of an unpaid stake.

    `step`: `elsewhere` (a third party collects the payment), `soon` (the request is not sent yet), `ringing` (the phone
    shows the prompt), `silent` (no answer for 3 minutes), or `support` (no answer for a day).
    """
    payment = entry.payment
    rings_until = payment.asked_at + RINGING if payment.asked_at else None
    number = spaced(payment.phone).replace(" ", "\u00a0")  # Non-breaking spaces keep the phone number on one line.
    context = {"network": networks.name(payment.network), "number": number, "amount": payment.amount}
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
    """Return True if the phone may still show the payment prompt of this ended stake."""
    payment = entry.payment
    return payment.status == Payment.Status.PENDING and payment.collection in _REQUESTED


def no_money_was_taken(payment: Payment) -> bool:
    """Return True if the payer was certainly not charged."""
    return payment.status == Payment.Status.FAILED and payment.collected_at is None and not payment.contested


def why_not_paid(payment: Payment) -> str:
    """Return a sentence about why the payment failed, or "" if no reason is known."""
    if payment.status != Payment.Status.FAILED or not payment.collection:
        return ""
    network = networks.name(payment.network)
    if payment.asked_at is None:
        return gettext("We could not reach %(network)s.") % {"network": network}
    # Players see reasons from the provider only, never an operator's note.
    if payment.settled_by not in ("asking", "answer") or not payment.reason:
        return ""
    if decline := read_decline(payment.reason):
        return str(_DECLINES[decline])
    return gettext("%(network)s says: “%(words)s”.") % {"network": network, "words": payment.reason.rstrip(".")}


class _RespondFirst(HttpResponseRedirect):
    """A redirect that runs `work` after the response was sent.

    The response time therefore does not reveal if the phone number has a stake.
    """

    def __init__(self, target: str, work: Callable[[], None]) -> None:
        super().__init__(target)
        self._work: Callable[[], None] | None = work

    def close(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        # The response was already sent, so an error can only be logged.
        except Exception:
            logger.exception("game.text_not_queued: the SMS with a player's own link could not be queued")
        finally:
            super().close()


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def link(request: HttpRequest) -> HttpResponse:
    """Show and process the form *Text me my link*. The response is the same for every valid phone number."""
    if request.method != "POST":
        context = {"form": LinkForm(), "asked": "asked" in request.GET, "off": not conf.current().enabled}
        return render(request, "game/link.html", context)
    form = LinkForm(request.POST)
    if not form.is_valid():
        return render(request, "game/link.html", {"form": form}, status=400)
    phone = form.cleaned_data["phone_number"]
    try:
        count_link_request(client_address(request))
    except Refused as refusal:
        form.add_error("phone_number", refusal.translated())
        return with_retry(render(request, "game/link.html", {"form": form}), refusal)
    response = _RespondFirst(f"{reverse('link')}?asked", lambda: text_own_link(phone))
    remember(response, ASKED_COOKIE, phone, path="/waiting")
    return response
