"""The page of a stake that waits."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from game.models import Entry
from game.money import due_back
from game.pages.cookies import own_stake, remember_stake
from game.pages.live import FOREIGN_LINK, friendly, milliseconds, minutes_left, page, to_match
from game.pages.paying import may_still_ring, paying, why_not_paid
from game.rules import ending
from game.rules.limits import INVITE_REFUSALS
from game.rules.validation import prize
from game.tokens import entry_of, player_token
from game.wording import INVITE_WORDS, end_of
from sms.models import SmsMessage
from sms.text import to_local


@never_cache
@require_safe
def waiting(request: HttpRequest) -> HttpResponse:
    """What happens to the stake of this browser; moves on to the match when there is one.

    `pt`, from a text, is exchanged for the cookie and taken off the address.
    """
    if given := request.GET.get("pt", ""):
        return _came_back(request, given)
    entry = own_stake(request)
    if entry is None:
        return redirect("stake")
    if entry.state == Entry.Status.MATCHED and entry.session is not None:
        return to_match(entry.session, player_token(entry))
    return page(request, "waiting", _waiting_context(entry), live=entry.state != Entry.Status.EXPIRED)


def _came_back(request: HttpRequest, token: str) -> HttpResponse:
    entry = entry_of(token)
    if entry is None:
        return friendly(request, 403, FOREIGN_LINK)
    answer = redirect("waiting")
    remember_stake(answer, entry)
    return answer


def _waiting_context(entry: Entry) -> dict[str, Any]:
    state = entry.state
    reason, sentences = end_of(entry) if state == Entry.Status.EXPIRED else ("", [])
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return {
        "entry": entry,
        "state": state,
        "reason": reason,
        "sentences": [sentence.translated() for sentence in sentences],
        "invite_status": invite.status if invite else "",
        "invite_words": _invite_words(entry, invite),
        "invite_number": to_local(entry.invite_phone) if entry.invite_phone else "",
        "paying": paying(entry) if state == Entry.Status.AWAITING_PAYMENT else None,
        "paid": entry.payment.collected_at is not None,
        "own_number": to_local(entry.phone),
        "why_not_paid": why_not_paid(entry.payment),
        "may_still_ring": state == Entry.Status.EXPIRED and may_still_ring(entry),
        "due_back": due_back(entry),
        "refunded": entry.payment.refunded_at is not None,
        "prize": prize(entry.stake_amount),
        "minutes": minutes_left(entry.expires_at),
        "ends": milliseconds(entry.expires_at),
        "join_url": f"{settings.FRONTEND_URL.rstrip('/')}/?match_code={entry.match_code or ''}",
    }


def _invite_words(entry: Entry, invite: SmsMessage | None) -> str:
    if invite is not None:
        return str(INVITE_WORDS[invite.status])
    # Not of "": that is the catalogue's header.
    return gettext(INVITE_REFUSALS[entry.invite_refused]) if entry.invite_refused in INVITE_REFUSALS else ""


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    entry = own_stake(request)
    if entry is not None:
        ending.leave(entry)
    return redirect("waiting")
