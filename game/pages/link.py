"""'Text me my link': the way back to an open stake for who lost the page, or opened it in another browser."""

import logging
from collections.abc import Callable

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from game.notifications import text_own_link
from game.pages.fields import PhoneField
from game.rules.limits import client_address, count_link_request
from game.rules.refused import Refused
from sms import conf

logger = logging.getLogger("game.link")


class LinkForm(forms.Form):
    phone_number = PhoneField()


class _AnswersFirst(HttpResponseRedirect):
    """Does its work when the answer has left: how long that takes tells the asker nothing of a number."""

    def __init__(self, target: str, work: Callable[[], None]) -> None:
        super().__init__(target)
        self._work: Callable[[], None] | None = work

    def close(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        # Nobody is there any more to be told.
        except Exception:
            logger.exception("game.text_not_queued: a player's own link")
        finally:
            super().close()


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def link(request: HttpRequest) -> HttpResponse:
    """The form, and after it one answer for whatever number was given."""
    if request.method != "POST":
        context = {"form": LinkForm(), "asked": "asked" in request.GET, "off": not conf.current().enabled}
        return render(request, "game/link.html", context)
    form = LinkForm(request.POST)
    if form.is_valid():
        phone = form.cleaned_data["phone_number"]
        try:
            count_link_request(client_address(request))
        except Refused as refusal:
            form.add_error("phone_number", refusal.translated())
            answer = render(request, "game/link.html", {"form": form}, status=refusal.status)
            answer["Retry-After"] = str(refusal.retry_after)
            return answer
        return _AnswersFirst(f"{reverse('link')}?asked", lambda: text_own_link(phone))
    return render(request, "game/link.html", {"form": form}, status=400)
