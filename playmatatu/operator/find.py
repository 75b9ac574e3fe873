"""The admin page of one player: a search box, the player's timeline, and notes."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from django.contrib import admin
from django.db.models import Q
from django.db.models.functions import Right, Upper
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from game.models import Entry, Player
from game.rules.codes import LENGTH
from payments.models import Payment, Refund
from playmatatu.models import PlayerNote
from playmatatu.operator import customer_timeline
from sms.errors import InvalidPhone
from sms.formats import masked, spaced
from sms.models import SmsMessage
from sms.text import to_e164

# If a search finds several players, at most this many are listed.
MOST = 20
_LONGEST = 200
_LAST_DIGITS = re.compile(r"\d{6}", re.ASCII)
_CODE = re.compile(rf"[A-Za-z0-9]{{{LENGTH}}}")
_MATCH_LINK = re.compile(r"/g/([\w-]+)")
_CODE_LINK = re.compile(r"match_code=([A-Za-z0-9]+)")


def phones(term: str) -> list[str]:
    """Return the phone numbers (E.164) found for `term`, at most MOST of them.

    `term`: a phone number or its last six digits, or a complete match code, link, id or name.
    """
    term = term.strip().replace("\0", "")[:_LONGEST]
    if not term:
        return []
    try:
        return [to_e164(term)]
    except InvalidPhone:
        return list(dict.fromkeys(_by_id(term)))[:MOST]


def of_player(given: str) -> list[str]:
    """Return a list with the phone number of the player with this id, or an empty list."""
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        return []
    return list(Player.objects.filter(pk=int(given)).values_list("phone", flat=True))


def _by_id(term: str) -> Iterator[str]:
    link = unquote(term)
    token = found.group(1) if (found := _MATCH_LINK.search(link)) else term
    code = found.group(1) if (found := _CODE_LINK.search(link)) else term
    if _LAST_DIGITS.fullmatch(term):
        yield from _some(
            Player.objects.annotate(end=Right("phone", 6)).filter(end=term).values_list("phone", flat=True)
        )
    if _CODE.fullmatch(code):
        yield from _of_matches(Q(match_code=code.upper()))
    yield from _of_matches(Q(session__token=token))
    yield from _some(Payment.objects.filter(transaction_id=term).values_list("phone", flat=True))
    yield from _some(Payment.objects.filter(provider_id=term).exclude(provider_id="").values_list("phone", flat=True))
    yield from _some(Refund.objects.filter(reference=term).values_list("payment__phone", flat=True))
    texts = SmsMessage.objects.filter(Q(provider_id=term) & ~Q(provider_id="") | Q(dedupe_key=term))
    yield from _some(texts.values_list("phone", flat=True))
    named = Entry.objects.annotate(name=Upper("display_name")).filter(name=term.upper()).exclude(display_name="")
    yield from _some(named.order_by("-pk").values_list("player__phone", flat=True))


def _of_matches(which: Q) -> Iterator[str]:
    """Yield the phone numbers of the players whose entries match `which`, and of their opponents."""
    for entry in Entry.objects.filter(which).select_related("player", "session").order_by("pk")[:MOST]:
        yield entry.phone
        if entry.session is not None:
            yield from (other.phone for other in entry.session.entries.select_related("player").order_by("pk"))


def _some(rows: Iterable[str]) -> Iterator[str]:
    yield from rows[:MOST]  # type: ignore[index]


# One of these permissions is enough to search. The page shows only data that the user may see.
NEEDED = ("game.view_entry", "payments.view_payment", "sms.view_smsmessage")


@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """Show the player with the id `player` or found by the term `q`. If several are found, show a list."""
    if not any(request.user.has_perm(name) for name in NEEDED):
        return HttpResponse("You may not see players.", status=403, content_type="text/plain")
    term = request.GET.get("q", "").strip()
    found = of_player(request.GET.get("player", "")) or phones(term)
    if len(found) == 1:
        return _page(request, {"term": term, "customer": customer_timeline.gather(request, found[0])})
    by_phone = {player.phone: player for player in Player.objects.filter(phone__in=found)}
    shown = spaced if request.user.has_perm("sms.view_full_phone") else masked
    choices = [(shown(phone), _address(by_phone.get(phone), phone)) for phone in found]
    return _page(request, {"term": term, "choices": choices, "asked": bool(term or request.GET.get("player"))})


@require_POST
def add_note(request: HttpRequest) -> HttpResponse:
    """Add a note to the timeline of a player."""
    if not request.user.has_perm("playmatatu.add_playernote"):
        return HttpResponse("You may not add notes.", status=403, content_type="text/plain")
    text = request.POST.get("note", "").replace("\0", "").strip()[:500]
    player = Player.objects.filter(phone__in=of_player(request.POST.get("player", ""))).first()
    if player is None or not text:
        return HttpResponseRedirect(reverse("admin:find"))
    PlayerNote.objects.create(player=player, text=text, author=request.user.get_username())
    return HttpResponseRedirect(_address(player, player.phone))


def _address(player: Player | None, phone: str) -> str:
    query = {"player": player.pk} if player else {"q": phone}
    return f"{reverse('admin:find')}?{urlencode(query)}"


def _page(request: HttpRequest, context: dict[str, object]) -> HttpResponse:
    title = f"Player {context['customer'].phone}" if "customer" in context else "Find a player"  # type: ignore[attr-defined]
    return TemplateResponse(request, "admin/find.html", {**admin.site.each_context(request), "title": title, **context})
