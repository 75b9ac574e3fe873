"""The page of one stake, from the payment to the match or the refund."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import get_language, gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from game.models import Entry
from game.money import due_back
from game.pages.cookies import (
    ASKED_COOKIE,
    may_see,
    own_stakes,
    remember_own_stake,
    remember_stake,
    remembered,
    stake_of,
)
from game.pages.live import FOREIGN_LINK, milliseconds, minutes_left, not_modified, page, sorry, to_match
from game.pages.paying import no_money_was_taken, paying, prompt_may_be_open, why_not_paid
from game.rules import ending
from game.rules.limits import INVITE_REFUSALS
from game.rules.validation import prize
from game.templatetags.pages import ugx
from game.tokens import entry_of
from game.version import current_tag
from game.wording import INVITE_STATUS, end_of, shown_phone
from sms.models import SmsMessage


@never_cache
@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """`/waiting`: go on to this browser's newest stake, or to the stake of a link (`pt`) from an SMS."""
    if token := request.GET.get("pt", ""):
        return _follow_link(request, token)
    stakes = own_stakes(request)
    return redirect("waiting", stakes[0].pk) if stakes else redirect("stake")


@never_cache
@require_safe
def waiting(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a stake to the browser that has its cookie. From the match on, its own page says the rest."""
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
    return page(request, "waiting", _context(entry), tag, live=_may_change(entry))


@require_POST
def leave(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a stake, unless it has been matched meanwhile."""
    entry = stake_of(request, pk)
    if entry is not None:
        ending.leave(entry)
    return redirect("waiting", pk)


def _follow_link(request: HttpRequest, token: str) -> HttpResponse:
    entry = entry_of(token)
    if entry is None:
        return sorry(request, 403, FOREIGN_LINK)
    response = redirect("waiting", entry.pk)
    # Anybody can send somebody else a link. The start page lists the stake only if this browser asked for its number.
    if remembered(request, ASKED_COOKIE, "/waiting") == entry.phone:
        remember_own_stake(request, response, entry)
    else:
        remember_stake(response, entry)
    return response


def _may_change(entry: Entry) -> bool:
    return entry.is_live or prompt_may_be_open(entry) or due_back(entry)


def _context(entry: Entry) -> dict[str, Any]:
    state, payment = entry.state, entry.payment
    reason, sentences = end_of(entry) if state == Entry.Status.EXPIRED else ("", [])
    asks = paying(entry) if state == Entry.Status.AWAITING_PAYMENT else None
    why = why_not_paid(payment)
    # The provider's reason says more than "Your payment failed.".
    explained = [gettext("You can try again.")] if why else [sentence.translated() for sentence in sentences]
    return {
        "entry": entry,
        "state": state,
        "heading": _heading(entry, asks),
        "reason": reason,
        "sentences": [why, *explained] if why else explained,
        "paying": asks,
        "paid": payment.collected_at is not None,
        "own_number": shown_phone(entry.phone),
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
    """Return the page's heading, which is its title too: first what the player most wants to know."""
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
    else:  # gettext("") would return the catalog's header
        sentence = gettext(INVITE_REFUSALS[entry.invite_refused]) if entry.invite_refused in INVITE_REFUSALS else ""
    return {
        "invite_status": message.status if message else "",
        "invite_sentence": sentence,
        "invite_number": shown_phone(entry.invite_phone) if entry.invite_phone else "",
    }
