"""The page with the form to place a stake, and the button that stops invites to a phone number."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from game.models import Entry
from game.pages.cookies import own_stakes, remember_own_stake, stake_of
from game.pages.forms import StakeForm, initial_of, presets
from game.pages.live import sorry, with_retry
from game.pages.match import decided
from game.payment_use import due_back
from game.rules.codes import CODE_NOT_OPEN, LONGEST_TEXT, open_match, read_code
from game.rules.limits import client_address, count_wrong_code, refuse_code_guessing
from game.rules.placing import place
from game.rules.validation import Refused
from sms import suppression
from sms.clicks import record_click


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def stake(request: HttpRequest) -> HttpResponse:
    """Show and process the stake form at `/` and `/join`.

    Query parameters: `match_code` is a friend's code. `opponent` is friend, code or anyone.
    """
    if request.method == "POST":
        return _place(request)
    opponent = request.GET.get("opponent", "")
    form = StakeForm(initial={"opponent": opponent} if opponent in ("friend", "code", "anyone") else {})
    code = request.GET.get("match_code") or request.GET.get("matchcode") or ""
    return _for_code(request, form, code.strip())


@never_cache
@require_safe
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the stake form, filled in with the values of an earlier stake."""
    entry = stake_of(request, pk)
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
        # An unknown code is probably a typing error, so the form keeps the code for correction.
        if refusal.status in (400, 404):
            form.initial.update(opponent="code", match_code=code[:LONGEST_TEXT])
        return with_retry(_form_page(request, form, notice=refusal.translated()), refusal)
    if request.method == "GET":
        record_click(request, match.invite_key)
    return _form_page(request, form)


def _match_of(code: str, address: str) -> Entry:
    """Return the entry that waits in the private match with this code. Raise Refused if there is none."""
    try:
        return open_match(read_code(code), address)
    except ValueError as error:
        raise Refused(400, str(error), "match_code") from None


def _gone(request: HttpRequest, code: str, refusal: Refused, *, status: int) -> HttpResponse:
    """Show why this match code cannot be joined.

    The page has no form for a stake, so that nobody stakes against a stranger by mistake.
    """
    context = {
        "code": read_code(code),
        "message": refusal.translated(),
        "not_yet": refusal.sentence.text == CODE_NOT_OPEN,
    }
    return render(request, "game/gone.html", context, status=status)


def _place(request: HttpRequest) -> HttpResponse:
    form = StakeForm(request.POST)
    if not form.is_valid():
        return _with_errors(request, form, 400)
    try:
        placed = place(form.stake(client_address(request)))
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.translated())
        return with_retry(_with_errors(request, form, refusal.status), refusal)
    response = redirect("waiting", placed.entry.pk)
    remember_own_stake(request, response, placed.entry)
    return response


def _with_errors(request: HttpRequest, form: StakeForm, status: int) -> HttpResponse:
    """Show the form again with its errors.

    If the friend's match cannot be joined, show a page without a form instead.
    """
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
    minutes = settings.QUEUE_EXPIRY_MINUTES
    own = [entry for entry in own_stakes(request) if entry.is_live or due_back(entry)]
    context: dict[str, Any] = {
        "form": form,
        "presets": presets(),
        "notice": notice,
        "fee": settings.COMMISSION_FLAT,
        "minutes": f"{minutes:g}",
        "minutes_plural": 1 if minutes == 1 else 2,
        "own": own,
        "decided": decided({entry.payment_id for entry in own if entry.session_id}),
    }
    return render(request, "game/stake.html", context, status=status)


@never_cache
@require_POST
def stop(request: HttpRequest) -> HttpResponse:
    """Add the phone number invited with `match_code` to the suppression list.

    The response is the same for every code, so that it does not reveal which codes exist.
    """
    address = client_address(request)
    try:
        refuse_code_guessing(address)
    except Refused as refusal:
        return with_retry(sorry(request, refusal.status, str(refusal)), refusal)
    invited = _invited(request.POST.get("match_code", ""))
    if invited is None:
        count_wrong_code(address)
    elif invited:
        suppression.stop(invited, "asked to stop on the page of an invite")
    return render(request, "game/stopped.html")


def _invited(text: str) -> str | None:
    """Return the phone number invited with this match code, "" if there is none, or None for an unknown code."""
    try:
        code = read_code(text)
    except ValueError:
        return None
    return Entry.objects.filter(match_code=code).values_list("invite_phone", flat=True).first()
