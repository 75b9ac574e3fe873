"""The match page: its link, who sees what, who is here, and the end."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Session
from tests.game_helpers import ALICE, BOB, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def players(settings: Any) -> tuple[Client, Client, str]:
    """Two browsers that opened their links, and the match's address."""
    settings.COMMISSION_FLAT = 300
    first, second = stake(Client(), ALICE, 2000, display_name="Alice"), stake(Client(), BOB, 2000, display_name="Bob")
    path = f"/g/{second['game_token']}"
    alice, bob = Client(), Client()
    for client, placed in ((alice, first), (bob, second)):
        assert client.get(path, {"pt": placed["player_token"]})["Location"] == path
    return alice, bob, path


def test_the_link_of_the_text_is_taken_off_the_address(client: Client) -> None:
    first, second = stake(client, ALICE, display_name="Alice"), stake(client, BOB, display_name="Bob")
    path = f"/g/{second['game_token']}"
    fresh = Client()
    stranger = fresh.get(path)
    assert stranger.status_code == 200
    assert b"Alice" not in stranger.content
    assert b"Bob" not in stranger.content
    assert fresh.get(path, {"pt": "wrong"}).status_code == 403
    assert fresh.get("/g/unknown").status_code == 404
    answer = fresh.get(path, {"pt": first["player_token"]})
    assert (answer.status_code, answer["Location"]) == (302, path)
    cookie = answer.cookies["player"]
    assert cookie["httponly"]
    assert cookie["path"] == path
    assert b"Bob" in fresh.get(path).content
    fresh.cookies["player"] = "forged:x"
    assert b"Bob" not in fresh.get(path).content


def test_it_shows_all_of_the_match(players: tuple[Client, Client, str]) -> None:
    alice, bob, path = players
    page = alice.get(path).content.decode()
    for words in ("Alice", "Bob", "2,000 UGX", "4,000 UGX", "not here yet", "10 minutes"):
        assert words in page
    ends = re.search(r'data-ends="(\d+)"', page)
    assert ends
    assert int(ends[1]) == int(Session.objects.get().expires_at.timestamp() * 1000)
    assert '<noscript><meta http-equiv="refresh"' in page
    bob.get(path)
    part = alice.get(path, headers={"X-Part": "1"}).content.decode()
    assert "is here" in part
    assert "data-live" in part
    assert "<html" not in part


def test_a_match_that_is_over_leads_on(players: tuple[Client, Client, str]) -> None:
    alice, _bob, path = players
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for client in (alice, Client()):
        page = client.get(path).content.decode()
        assert "This match is over" in page
        assert "Stake again" in page
        assert "refresh" not in page
        assert "data-live" not in page
        assert "Open the link in your own text" not in page


def test_foreign_links_get_a_friendly_page_and_a_way_back(players: tuple[Client, Client, str]) -> None:
    _alice, _bob, path = players
    for answer, status, words in (
        (Client().get("/g/unknown"), 404, "We know no such match."),
        (Client().get(path, {"pt": "wrong"}), 403, "This link is not yours"),
        (Client().get(path), 200, "Open the link in your own text message to play."),
    ):
        page = answer.content.decode()
        assert answer.status_code == status
        assert words in page
        assert 'class="main" href="/"' in page
        assert "Alice" not in page


def test_names_are_shown_as_they_are_not_as_markup() -> None:
    first = stake(Client(), ALICE, display_name="<b>A</b>")
    second = stake(Client(), BOB)
    client = Client()
    page = client.get(f"/g/{second['game_token']}", {"pt": second["player_token"]}, follow=True).content.decode()
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<b>A</b>" not in page
    assert first["player_token"] not in page
    assert second["player_token"] not in page
