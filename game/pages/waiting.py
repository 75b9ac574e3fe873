"""The page that shows one stake from its payment until its match or refund."""

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
    """Redirect `/waiting` to this browser's newest stake. With a token `pt` from an SMS, redirect to the token's
    stake.
    """
    if token := request.GET.get("pt", ""):
        return _follow_link(request, token)
    stakes = own_stakes(request)
    return redirect("waiting", stakes[0].pk) if stakes else redirect("stake")


@never_cache
@require_safe
def waiting(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a stake to a browser that has its cookie. Once the stake is matched, redirect to the page of the match."""
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
    """Cancel a stake, unless it has already been matched."""
    entry = stake_of(request, pk)
    if entry is not None:
        ending.leave(entry)
    return redirect("waiting", pk)


def _follow_link(request: HttpRequest, token: str) -> HttpResponse:
    entry = entry_of(token)
    if entry is None:
        return sorry(request, 403, FOREIGN_LINK)
    response = redirect("waiting", entry.pk)
    # Only list the stake on the start page if this browser requested the link for the stake's phone number. A link that
    # somebody else sent does not count.
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
    # If the provider gave a reason, the page shows it (`why`) in place of the general "Your payment failed.".
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
    """Return the heading of the page, which is also its title. The heading says what the player most wants to know."""
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
    else:  # Do not pass "" to gettext: it would return the header of the translation catalog.
        sentence = gettext(INVITE_REFUSALS[entry.invite_refused]) if entry.invite_refused in INVITE_REFUSALS else ""
    return {
        "invite_status": message.status if message else "",
        "invite_sentence": sentence,
        "invite_number": shown_phone(entry.invite_phone) if entry.invite_phone else "",
    }
