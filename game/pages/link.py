"""'Text me my link': sends players a link to their open stake if they have lost its page or changed the browser."""

import logging
from collections.abc import Callable

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from game.notifications import text_own_link
from game.pages.cookies import ASKED_COOKIE, remember
from game.pages.fields import PhoneField
from game.rules.limits import client_address, count_link_request
from game.rules.validation import Refused
from sms import conf

logger = logging.getLogger("game.link")


class LinkForm(forms.Form):
    phone_number = PhoneField()


class _RespondFirst(HttpResponseRedirect):
    """A redirect that runs `work` only after the response was sent.

    Therefore the response time reveals nothing about the phone number.
    """

    def __init__(self, target: str, work: Callable[[], None]) -> None:
        super().__init__(target)
        self._work: Callable[[], None] | None = work

    def close(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        # The client already has its response, so an error can only be logged.
        except Exception:
            logger.exception("game.text_not_queued: the SMS with a player's own link could not be queued")
        finally:
            super().close()


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def link(request: HttpRequest) -> HttpResponse:
    """Show and process the form *Text me my link*. The response is the same for every phone number."""
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
        refused = render(request, "game/link.html", {"form": form}, status=refusal.status)
        refused["Retry-After"] = str(refusal.retry_after)
        return refused
    response = _RespondFirst(f"{reverse('link')}?asked", lambda: text_own_link(phone))
    remember(response, ASKED_COOKIE, phone, path="/waiting")
    return response
