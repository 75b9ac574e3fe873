"""'Never text me again': the button on the page of an invite."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from game.models import Entry
from game.pages.live import sorry
from game.rules.codes import read_code
from game.rules.limits import client_address, count_wrong_code, refuse_code_guessing
from game.rules.validation import Refused
from sms import suppression


@never_cache
@require_POST
def stop(request: HttpRequest) -> HttpResponse:
    """Put the phone number that was invited with `match_code` on the suppression list.

    The response is the same for every code, so that it does not reveal if a code exists. Codes that do not exist count
    towards the limit for wrong codes.
    """
    address = client_address(request)
    try:
        refuse_code_guessing(address)
    except Refused as refusal:
        refused = sorry(request, refusal.status, str(refusal))
        refused["Retry-After"] = str(refusal.retry_after)
        return refused
    invited = _invited(request.POST.get("match_code", ""))
    if invited is None:
        count_wrong_code(address)
    elif invited:
        suppression.stop(invited, "asked to stop on the page of an invite")
    return render(request, "game/stopped.html")


def _invited(text: str) -> str | None:
    """Return the phone number that was invited with this match code.

    "": nobody was invited with the code. None: the code does not exist.
    """
    try:
        code = read_code(text)
    except ValueError:
        return None
    return Entry.objects.filter(match_code=code).values_list("invite_phone", flat=True).first()
