"""The page of one player: a search box, the timeline of the player found, and notes on the player."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from game.models import Player
from playmatatu.models import PlayerNote
from playmatatu.operator import customer_timeline
from playmatatu.operator import find as finding
from sms.wording import masked

# A user needs at least one of these permissions to search. The page shows only data that the user may see.
NEEDED = ("game.view_entry", "payments.view_payment", "sms.view_smsmessage")


@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """Find a player and show the player's timeline, or a choice if several players match.

    Query parameters: `q`, a phone, name, code, link or id; `player`, the id of a player.
    """
    if not any(request.user.has_perm(name) for name in NEEDED):
        return HttpResponse("You may not see players.", status=403, content_type="text/plain")
    term = request.GET.get("q", "").strip()
    phones = finding.of_player(request.GET.get("player", "")) or finding.phones(term)
    if len(phones) == 1:
        return _page(request, {"term": term, "customer": customer_timeline.gather(request, phones[0])})
    players = Player.objects.filter(phone__in=phones)
    by_phone = {player.phone: player for player in players}
    if len(phones) > 1 and len(by_phone) == 1 == len(set(phones)):
        return HttpResponseRedirect(f"{reverse('admin:find')}?{urlencode({'player': players[0].pk})}")
    choices = [(masked(phone), _address(by_phone.get(phone), phone)) for phone in phones]
    return _page(request, {"term": term, "choices": choices, "asked": bool(term or request.GET.get("player"))})


@require_POST
def add_note(request: HttpRequest) -> HttpResponse:
    """Add the text `note` to the timeline of the player with the id `player`."""
    if not request.user.has_perm("playmatatu.add_playernote"):
        return HttpResponse("You may not add notes.", status=403, content_type="text/plain")
    text = request.POST.get("note", "").replace("\0", "").strip()[:500]
    phones = finding.of_player(request.POST.get("player", ""))
    player = Player.objects.filter(phone__in=phones).first()
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
