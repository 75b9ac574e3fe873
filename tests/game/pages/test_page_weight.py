"""Size, files, hosts and headers of every page in every state."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.utils import timezone

from game.models import Entry, Session
from payments.models import Payment
from tests.game.pages.helpers import own
from tests.game_helpers import ALICE, BOB, stake

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 30_000
LONG = {"phone_number": ALICE, "stake_amount": "1000", "display_name": "W" * 50}


def _start(client: Client) -> Any:
    return client.get("/")


def _mistakes(client: Client) -> Any:
    return client.post("/", {"phone_number": "1", "opponent": "friend", "invite_phone": "2", "stake_amount": "x"})


def _join(client: Client) -> Any:
    return client.get("/join", {"match_code": stake(Client(), BOB, create_private=True)["match_code"]})


def _used_code(client: Client) -> Any:
    created = stake(Client(), BOB, create_private=True)
    stake(Client(), ALICE, match_code=created["match_code"])
    return client.get("/join", {"match_code": created["match_code"]})


def _unknown_code(client: Client) -> Any:
    return client.get("/join", {"match_code": "ABC234"})


def _waiting(client: Client) -> Any:
    return client.post("/", LONG | {"opponent": "friend", "invite_phone": BOB}, follow=True)


def _searching(client: Client) -> Any:
    return client.post("/", LONG | {"opponent": "anyone"}, follow=True)


def _over(client: Client) -> Any:
    _searching(client)
    Entry.objects.update(status="expired", reason="payment_failed")
    return client.get("/waiting", follow=True)


def _ringing(client: Client) -> Any:
    """The page of a ringing phone is the longest page of an unpaid stake."""
    _unpaid(client, asked_at=timezone.now(), collection="in_doubt")
    return client.get("/waiting", follow=True)


def _silent(client: Client) -> Any:
    _unpaid(client, asked_at=timezone.now() - timedelta(minutes=4), collection="asked")
    return client.get("/waiting", follow=True)


def _unpaid(client: Client, **order: Any) -> None:
    _searching(client)
    Entry.objects.update(status="awaiting_payment", opened_at=None, expires_at=None)
    Payment.objects.update(status="PENDING", network="airtel", **order)


def _refund_due(client: Client) -> Any:
    _searching(client)
    Entry.objects.update(status="expired", reason="timed_out")
    Payment.objects.update(collected_at=timezone.now())
    return client.get("/waiting", follow=True)


def _retry(client: Client) -> Any:
    _over(client)
    return client.get(own(client, "/retry"))


def _match(client: Client) -> Any:
    stake(Client(), BOB, display_name="M" * 50)
    return client.post("/", LONG | {"opponent": "anyone"}, follow=True)


def _foreign_match(client: Client) -> Any:
    _match(Client())
    return client.get(f"/g/{Session.objects.get().token}")


def _wrong_link(client: Client) -> Any:
    _match(Client())
    return client.get(f"/g/{Session.objects.get().token}?pt=wrong")


def _link(client: Client) -> Any:
    return client.post("/link", {"phone_number": ALICE}, follow=True)


def _no_match(client: Client) -> Any:
    return client.get("/g/unknown")


def _no_page(client: Client) -> Any:
    return client.get("/nowhere")


def _without_cookies(client: Client) -> Any:
    return Client(enforce_csrf_checks=True).post("/", LONG)


PAGES = [
    *(
        _start,
        _mistakes,
        _join,
        _used_code,
        _unknown_code,
        _waiting,
        _searching,
        _over,
        _ringing,
        _silent,
        _refund_due,
        _retry,
        _match,
        _foreign_match,
    ),
    *(_wrong_link, _link, _no_match, _no_page, _without_cookies),
]
every_page = pytest.mark.parametrize("visit", PAGES, ids=lambda visit: visit.__name__.strip("_"))


@pytest.fixture(params=["en", "lg"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(headers={"accept-language": request.param})


def _resources(page: str) -> list[str]:
    """Return all files that a browser fetches for the page."""
    return re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="([^"]+)"|<link[^>]*\bhref="([^"]+)"', page)


@every_page
def test_a_page_is_small(client: Client, visit: Callable[[Client], Any]) -> None:
    answer = visit(client)
    assert answer["Content-Type"].startswith("text/html")
    page = answer.content.decode()
    fetched = {"".join(found) for found in _resources(page)}
    names = [urlsplit(address).path.removeprefix("/static/") for address in fetched]
    assert sorted(name.rpartition(".")[2] for name in names) == ["css", "js", "svg"]
    total = len(answer.content)
    for name in names:
        path = finders.find(name)
        assert isinstance(path, str)
        content = Path(path).read_bytes()
        total += len(content)
        assert not re.search(rb"@import|https?://(?!www\.w3\.org)|//cdn|url\(", content)
    # The limit applies to uncompressed files, so that it holds with any server.
    assert total < MOST


@every_page
def test_a_page_talks_to_nobody_else(client: Client, visit: Callable[[Client], Any]) -> None:
    page = visit(client).content.decode()
    for found in _resources(page):
        assert "".join(found).startswith("/static/")
    for target in re.findall(r'\b(?:action|href|data-poll)="([^"]*)"', page):
        assert re.match(r"/(?!/)|#main$", target), target
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", page)


@every_page
def test_a_page_s_headers(client: Client, visit: Callable[[Client], Any]) -> None:
    answer = visit(client)
    # `no-referrer` would make browsers send `Origin: null` with the forms, and Django would refuse them.
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'"):
        assert rule in policy
    assert "frame-ancestors 'none'" in policy
    if visit not in (_no_page, _without_cookies):  # These pages contain no player's data.
        assert "no-store" in answer["Cache-Control"]
        assert "private" in answer["Cache-Control"]


@every_page
def test_a_page_s_structure(client: Client, visit: Callable[[Client], Any]) -> None:
    page = visit(client).content.decode()
    assert len(re.findall(r"<h1\b", page)) == 1
    for landmark in ("header", "main", "footer"):
        assert len(re.findall(rf"<{landmark}\b", page)) == 1
    assert re.search(r'<html lang="(en|lg)">', page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert page.index('href="#main"') < page.index("<header")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    # A positive tabindex would change the keyboard order.
    assert not re.search(r'tabindex="[1-9]', page)
    for form in re.findall(r"<form\b.*?</form>", page, re.DOTALL):
        assert "csrfmiddlewaretoken" in form


def test_the_api_has_the_headers_too() -> None:
    answer = Client().get("/api/v1/config")
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert "unsafe" not in answer["Content-Security-Policy"]
