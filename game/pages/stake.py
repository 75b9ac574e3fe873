"""The stake form: at the start, for a friend's code, and filled in again after a stake that came to nothing."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from game.models import Entry
from game.pages.cookies import QUEUE_COOKIE, remember, remembered
from game.pages.forms import StakeForm, initial_of, presets
from game.rules.addresses import client_address
from game.rules.codes import open_match, read_code
from game.rules.guesses import count_wrong_code, refuse_code_guessing
from game.rules.placing import place
from game.rules.refused import Refused
from game.tokens import entry_of, queue_token


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def stake(request: HttpRequest) -> HttpResponse:
    """`/` and `/join`: the form, empty or filled in for a code."""
    if request.method == "POST":
        return _placed(request)
    return _for_code(request, StakeForm(initial={}), request.GET.get("match_code", "").strip())


@never_cache
@require_safe
def retry(request: HttpRequest) -> HttpResponse:
    """The form as this browser's last stake filled it in."""
    entry = entry_of(remembered(request, QUEUE_COOKIE, "/waiting"))
    if entry is None:
        return redirect("stake")
    return _for_code(request, StakeForm(initial=initial_of(entry)), entry.joins_code)


def _for_code(request: HttpRequest, form: StakeForm, code: str) -> HttpResponse:
    if not code:
        return _form_page(request, form)
    try:
        form.join(_match_of(code, client_address(request)))
    except Refused as refusal:
        if refusal.status in (400, 404):  # a slip of the finger: what was typed stays, to be mended
            form.initial.update(opponent="code", match_code=code[:20])
        return _refused(_form_page(request, form, notice=refusal.translated()), refusal)
    return _form_page(request, form)


def _match_of(code: str, address: str) -> Entry:
    """The open match of a code. Raises Refused; a wrong guess counts, whichever way it is asked."""
    refuse_code_guessing(address)
    try:
        return open_match(read_code(code))
    except ValueError as error:
        raise Refused(400, str(error), "match_code") from None
    except Refused as refusal:
        if refusal.status == 404:
            count_wrong_code(address)
        raise


def _refused(answer: HttpResponse, refusal: Refused) -> HttpResponse:
    """Too many guesses are told to machines too; any other bad code is a page to go on from."""
    if refusal.retry_after is not None:
        answer.status_code = refusal.status
        answer["Retry-After"] = str(refusal.retry_after)
    return answer


def _placed(request: HttpRequest) -> HttpResponse:
    form = StakeForm(request.POST)
    address = client_address(request)
    if not form.is_valid():
        return _mend(request, form, address, 400)
    try:
        placed = place(form.stake(address))
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.translated())
        return _refused(_mend(request, form, address, refusal.status), refusal)
    answer = redirect("waiting")
    remember(answer, QUEUE_COOKIE, queue_token(placed.entry), path="/waiting")
    return answer


def _mend(request: HttpRequest, form: StakeForm, address: str, status: int) -> HttpResponse:
    """The form again, with its errors; a friend's match keeps its stake."""
    code = form.cleaned_data.get("match_code")
    if form.cleaned_data.get("opponent") == "code" and code and not form.errors.get("match_code"):
        try:
            form.join(_match_of(code, address))
        except Refused as refusal:
            form.add_error("match_code", refusal.translated())
    form.focus_on_error()
    return _form_page(request, form, status=status)


def _form_page(request: HttpRequest, form: StakeForm, *, notice: str = "", status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "presets": presets(), "notice": notice}
    return render(request, "game/stake.html", context, status=status)
