"""The end of a match on its page: the winner, and what happens to each player's money."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry, Session
from payments.models import MatchResult, Payment
from tests.game.pages.helpers import fill, shown
from tests.game_helpers import ALICE, BOB

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Client:
    client = Client()
    fill(client, display_name="Alice", stake_amount="5000")
    return client


@pytest.fixture
def bob(alice: Client) -> Client:
    client = Client()
    fill(client, phone_number=BOB, display_name="Bob", stake_amount="5000")
    return client


def record(outcome: str, winner: str = "", prize: str = "") -> MatchResult:
    first, second = Payment.objects.order_by("pk")
    return MatchResult.objects.create(
        key=f"session:{Session.objects.get().pk}",
        first=first,
        second=second,
        outcome=outcome,
        winner=Payment.objects.get(phone=f"+256{winner[1:]}") if winner else None,
        prize=prize,
        recorded_by="game server",
        recorded_at=timezone.now(),
    )


def match_page(client: Client, **headers: str) -> str:
    page = shown(client, client.get(client.get("/waiting")["Location"])["Location"], **headers)
    # The heading's template ends with a line break, which browsers do not show.
    return re.sub(r"\n(?=</h1>| ·)", "", page)


@pytest.mark.parametrize(
    ("prize", "sentence", "live"),
    [
        ("payable", "We will send it to 0772 000 001.", True),
        ("sending", "We will send it to 0772 000 001.", True),
        ("held", "We are checking the payments of this match before we send it.", True),
        ("paid", "We sent it to 0772 000 001.", False),
    ],
)
def test_a_win(alice: Client, bob: Client, prize: str, sentence: str, live: bool) -> None:
    record("win", ALICE, prize)
    page = match_page(alice)
    assert "<h1>You won 10,000 UGX</h1>" in page
    assert "<title>You won 10,000 UGX · PlayMatatu</title>" in page
    assert sentence in page
    assert ("data-live" in page) is live
    page = match_page(bob)
    assert "<h1>You lost this match</h1>" in page
    assert "Alice won 10,000 UGX." in page
    assert "data-live" not in page
    for client in (alice, bob):
        page = match_page(client)
        assert "Stake again" in page
        assert "Time left" not in page
        assert "Play now" not in page


def test_a_win_without_money(alice: Client, bob: Client) -> None:
    record("win", ALICE)
    page = match_page(alice)
    assert "<h1>You won</h1>" in page
    assert "We will send" not in page


@pytest.mark.parametrize(
    ("outcome", "heading"), [("draw", "This match was a draw"), ("void", "This match was cancelled")]
)
def test_stakes_that_go_back(alice: Client, bob: Client, outcome: str, heading: str) -> None:
    record(outcome)
    Payment.objects.update(place="refund_due", collected_at=timezone.now(), refund_due=True, version=1)
    page = match_page(alice)
    assert f"<h1>{heading}</h1>" in page
    assert "The winner gets" not in page
    assert "We will refund 5,000 UGX to 0772 000 001." in page
    assert "data-live" in page
    Payment.objects.update(place="refunded", refund_due=False, refunded_at=timezone.now())
    page = match_page(alice)
    assert "We sent 5,000 UGX back to 0772 000 001." in page
    assert "data-live" not in page


def test_no_result_yet(alice: Client, bob: Client, settings: Any) -> None:
    settings.GAME_SERVER_SECRET = "game-secret"
    assert "Time left" in match_page(alice)
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    page = match_page(alice)
    assert "We don't know the result of this match yet." in page
    assert "data-live" in page
    record("win", BOB, "payable")
    assert "<h1>You lost this match</h1>" in match_page(alice)


def test_the_result_is_polled(alice: Client, bob: Client) -> None:
    path = alice.get(alice.get("/waiting")["Location"])["Location"]
    tag = alice.get(path)["ETag"]
    assert alice.get(path, headers={"X-Part": "1", "If-None-Match": tag}).status_code == 304
    record("win", ALICE, "payable")
    part = alice.get(path, headers={"X-Part": "1", "If-None-Match": tag})
    assert "You won 10,000 UGX" in part.content.decode()
    MatchResult.objects.update(prize="paid")
    assert alice.get(path, headers={"X-Part": "1", "If-None-Match": part["ETag"]}).status_code == 200


def test_a_stranger_sees_no_result(alice: Client, bob: Client) -> None:
    record("win", ALICE, "paid")
    page = Client().get(f"/g/{Session.objects.get().token}").content.decode()
    assert "Alice" not in page
    assert "won" not in page
    assert Entry.objects.count() == 2
