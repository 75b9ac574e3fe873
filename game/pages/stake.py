"""The stake form: at the start, for a friend's code, and filled in again after a stake that came to nothing."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from game.models import Entry
from game.money import concerns_its_player
from game.pages.cookies import own_stake, remember_stake
from game.pages.forms import StakeForm, initial_of, presets
from game.rules.codes import CODE_NOT_OPEN, LONGEST_TEXT, open_match, read_code
from game.rules.limits import client_address, count_wrong_code, refuse_code_guessing
from game.rules.placing import place
from game.rules.refused import Refused
from sms.clicks import record_click


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def stake(request: HttpRequest) -> HttpResponse:
    """`/` and `/join`: the form, empty or filled in for a code. `?opponent=` chooses against whom."""
    if request.method == "POST":
        return _placed(request)
    opponent = request.GET.get("opponent", "")
    form = StakeForm(initial={"opponent": opponent} if opponent in ("friend", "code", "anyone") else {})
    return _for_code(request, form, request.GET.get("match_code", "").strip())


@never_cache
@require_safe
def retry(request: HttpRequest) -> HttpResponse:
    """The form as this browser's last stake filled it in."""
    entry = own_stake(request)
    if entry is None:
        return redirect("stake")
    return _for_code(request, StakeForm(initial=initial_of(entry)), entry.joins_code)


def _for_code(request: HttpRequest, form: StakeForm, code: str) -> HttpResponse:
    if not code:
        return _form_page(request, form)
    try:
        match = _match_of(code, client_address(request))
        form.join(match)
    except Refused as refusal:
        if refusal.status == 409:
            return _gone(request, code, refusal, status=200)
        if refusal.status in (400, 404):  # a slip of the finger: what was typed stays, to be mended
            form.initial.update(opponent="code", match_code=code[:LONGEST_TEXT])
        return _refused(_form_page(request, form, notice=refusal.translated()), refusal)
    if request.method == "GET":
        record_click(request, match.invite_key)
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


def _gone(request: HttpRequest, code: str, refusal: Refused, *, status: int) -> HttpResponse:
    """Where a code ends that nobody can join (any more): not in a form that stakes with a stranger."""
    context = {
        "code": read_code(code),
        "message": refusal.translated(),
        "not_yet": refusal.sentence.text == CODE_NOT_OPEN,
    }
    return render(request, "game/gone.html", context, status=status)


def _refused(answer: HttpResponse, refusal: Refused) -> HttpResponse:
    """Too many guesses are told to machines too; any other bad code is a page to go on from."""
    if refusal.retry_after is not None:
        answer.status_code = refusal.status
        answer["Retry-After"] = str(refusal.retry_after)
    return answer


def _placed(request: HttpRequest) -> HttpResponse:
    form = StakeForm(request.POST)
    if not form.is_valid():
        return _mend(request, form, 400)
    try:
        placed = place(form.stake(client_address(request)))
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.translated())
        return _refused(_mend(request, form, refusal.status), refusal)
    answer = redirect("waiting")
    remember_stake(answer, placed.entry)
    return answer


def _mend(request: HttpRequest, form: StakeForm, status: int) -> HttpResponse:
    """The form again, with its errors; a friend's match keeps its stake, and one that is gone has a page of its own."""
    code = form.data.get("match_code", "").strip()
    known = status == 409 or not form.errors.get("match_code")
    if form.cleaned_data.get("opponent") == "code" and code and known:
        try:
            form.join(_match_of(code, client_address(request)))
        except Refused as refusal:
            if refusal.status == 409:
                return _gone(request, code, refusal, status=409)
            form.add_error("match_code", refusal.translated())
    form.focus_on_error()
    return _form_page(request, form, status=status)


def _form_page(request: HttpRequest, form: StakeForm, *, notice: str = "", status: int = 200) -> HttpResponse:
    own = own_stake(request)
    minutes = settings.QUEUE_EXPIRY_MINUTES
    context: dict[str, Any] = {
        "form": form,
        "presets": presets(),
        "notice": notice,
        "fee": settings.COMMISSION_FLAT,
        "minutes": f"{minutes:g}",
        "own": own if own is not None and concerns_its_player(own) else None,
    }
    return render(request, "game/stake.html", context, status=status)
