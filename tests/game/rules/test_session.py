"""The API's match endpoint and player tokens."""

from typing import Any

import pytest
from django.core.signing import Signer
from django.test import Client

from game.models import Entry, Session
from game.tokens import entry_in, player_token
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pair(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    return stake(client, ALICE, display_name="Alice"), stake(client, BOB, display_name="Bob")


def show(client: Client, game_token: str, **query: str) -> Any:
    return client.get(f"/api/v1/game/{game_token}", query)


def test_each_player_sees_both_names_from_their_side(client: Client, pair: Any) -> None:
    first, second = pair
    for placed, names in ((first, ("Alice", "Bob")), (second, ("Bob", "Alice"))):
        answer = show(client, second["game_token"], pt=placed["player_token"]).json()
        assert (answer["my_display_name"], answer["opponent_display_name"]) == names
        assert answer["status"] == "active"


@pytest.mark.parametrize("query", [{}, {"pt": ""}, {"other": "x"}])
def test_without_a_player_token_there_are_no_names(client: Client, pair: Any, query: dict[str, str]) -> None:
    answer = show(client, pair[1]["game_token"], **query)
    assert answer.status_code == 200
    assert set(answer.json()) == {"game_token", "status", "stake_amount", "prize_amount", "expires_at"}
    assert b"Alice" not in answer.content


def test_a_wrong_token_is_refused(client: Client, pair: Any) -> None:
    first, second = pair
    third, fourth = stake(client, CAROL), stake(client, DAVE)
    for token in (
        "wrong",
        first["queue_token"],
        first["player_token"][:-1],
        first["player_token"] + "A",
        first["player_token"].swapcase(),
        third["player_token"],
        fourth["player_token"],
        second["game_token"],
        "é",
    ):
        answer = show(client, second["game_token"], pt=token)
        assert answer.status_code == 403
        assert b"Alice" not in answer.content
        assert answer.json()["error"]


def test_the_token_is_of_an_entry_not_of_a_player(client: Client, pair: Any) -> None:
    again, _ = stake(client, ALICE), stake(client, CAROL)
    assert again["player_token"] != pair[0]["player_token"]
    assert show(client, pair[1]["game_token"], pt=again["player_token"]).status_code == 403


def test_two_keys_back_is_over(client: Client, pair: Any, settings: Any) -> None:
    path, token = pair[1]["game_token"], pair[0]["player_token"]
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second" * 10, [old]
    assert show(client, path, pt=token).status_code == 200
    # New links are signed with the new key.
    assert player_token(Entry.objects.get(pk=pair[0]["queue_id"])) != token
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "third" * 10, ["second" * 10]
    assert show(client, path, pt=token).status_code == 403


def test_tokens_are_short_and_those_of_the_former_length_stay_valid(client: Client, pair: Any) -> None:
    token = pair[0]["player_token"]
    assert len(token) == 22
    entry = Entry.objects.get(pk=pair[0]["queue_id"])
    former = Signer(salt="game.player").signature(f"{entry.pk}:{entry.player_id}")
    assert former.startswith(token)
    assert show(client, pair[1]["game_token"], pt=former).status_code == 200
    for wrong in (former[:-1] + "!", former[:21], former[:23], "x" * 22):
        assert show(client, pair[1]["game_token"], pt=wrong).status_code == 403


def test_the_comparison_takes_constant_time(pair: Any, monkeypatch: Any) -> None:
    """All entries and keys are compared with the constant-time function, even after a match is found."""
    compared: list[tuple[str, str]] = []

    def note(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("game.tokens.constant_time_compare", note)
    session = Session.objects.get()
    for placed in pair:
        compared.clear()
        found = entry_in(session, placed["player_token"])
        assert found
        assert found.pk == placed["queue_id"]
        assert len(compared) == 2


def test_unknown_matches(client: Client) -> None:
    answer = show(client, "unknown")
    assert answer.status_code == 404
    assert answer.json() == {"error": "We can't find this match.", "fields": {}}


@pytest.mark.parametrize("path", ["/g/a%00b", "/g/%ED%A0%80", "/g/%ff?pt=x"])
def test_the_page_of_an_impossible_match(client: Client, path: str) -> None:
    """PostgreSQL rejects NUL in parameters too."""
    assert client.get(path).status_code == 404
