"""The match page: the link, the names, presence and the end."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Session
from tests.game_helpers import ALICE, BOB, stake
from tests.servers import RedisServer

Players = tuple[tuple[Client, str], tuple[Client, str]]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def players(settings: Any) -> Players:
    """Two browsers that have opened their links, each with the URL of its own match page."""
    settings.COMMISSION_FLAT = 300
    first, second = stake(Client(), ALICE, 2000, display_name="Alice"), stake(Client(), BOB, 2000, display_name="Bob")
    found = []
    for placed in (first, second):
        client = Client()
        answer = client.get(f"/g/{second['game_token']}", {"pt": placed["player_token"]})
        assert answer["Location"] == f"/g/{second['game_token']}/{placed['queue_id']}"
        found.append((client, answer["Location"]))
    return found[0], found[1]


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
    own = f"{path}/{first['queue_id']}"
    assert (answer.status_code, answer["Location"]) == (302, own)
    cookie = answer.cookies["player"]
    assert cookie["httponly"]
    assert cookie["path"] == own
    assert b"Bob" in fresh.get(own).content
    # One player's cookie does not open the other player's page.
    for other in (path, f"{path}/{second['queue_id']}", f"{path}/999999"):
        assert b"Bob" not in fresh.get(other).content
    fresh.cookies["player"] = "forged:x"
    assert b"Bob" not in fresh.get(own).content


def test_it_shows_all_of_the_match(players: Players) -> None:
    (alice, path), (bob, bob_path) = players
    page = alice.get(path).content.decode()
    for words in ("Alice", "Bob", "2,000 UGX", "4,000 UGX", "not here yet", "10 minutes"):
        assert words in page
    ends = re.search(r'data-ends="(\d+)"', page)
    assert ends
    assert int(ends[1]) == int(Session.objects.get().expires_at.timestamp() * 1000)
    assert '<noscript><meta http-equiv="refresh"' in page
    bob.get(bob_path)
    part = alice.get(path, headers={"X-Part": "1"}).content.decode()
    assert "Alice, you." in part
    assert "Bob is here." in part
    assert "data-live" in part
    assert "<html" not in part


def test_players_do_not_wait_for_a_cache_that_hangs(redis_cache: RedisServer, players: Players) -> None:
    (alice, path), (bob, bob_path) = players
    redis_cache.hang()
    try:
        started = time.monotonic()
        pages = [client.get(url) for client, url in ((alice, path), (bob, bob_path)) * 5]
        duration = time.monotonic() - started
    finally:
        redis_cache.go_on()
    assert {page.status_code for page in pages} == {200}
    assert duration < 5  # Each cache call waits one second at most.


def test_a_match_that_has_ended_leads_on(players: Players) -> None:
    (alice, path), _bob = players
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for client in (alice, Client()):
        page = client.get(path).content.decode()
        assert "This match has ended" in page
        assert "Stake again" in page
        assert "refresh" not in page
        assert "data-live" not in page
        assert "open the link in your own SMS" not in page


def test_foreign_links_get_a_friendly_page_and_a_way_back(players: Players) -> None:
    path = players[0][1].rpartition("/")[0]
    for answer, status, words in (
        (Client().get("/g/unknown"), 404, "We can&#x27;t find this match."),
        (Client().get(path, {"pt": "wrong"}), 403, "This link is not yours"),
        (Client().get(path), 200, "To play, open the link in your own SMS."),
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
