"""The pages a player sees, without a browser: forms, cookies, headers."""

import re
from typing import Any

import pytest
from django.test import Client

from game.models import Entry
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, stake

pytestmark = pytest.mark.django_db(transaction=True)


def fill(client: Client, **fields: str) -> Any:
    return client.post("/", {"phone_number": ALICE, "stake_amount": "1000", "opponent": "anyone"} | fields)


def test_two_players_meet_by_the_pages_alone(sandbox: Sandbox) -> None:
    alice, bob = Client(), Client()
    answer = fill(alice, display_name="Alice", stake_amount="2,000", opponent="friend", invite_phone=BOB)
    assert (answer.status_code, answer["Location"]) == (302, "/waiting")
    page = alice.get("/waiting").content.decode()
    code = Entry.objects.get().match_code or ""
    assert code in page
    assert "Your invite has been sent." in page
    link = re.search(r"/join\?\S+", sandbox.inbox()[0]["text"])
    assert link
    form = bob.get(link[0]).content.decode()
    assert f'value="{code}"' in form
    assert 'value="2000"' in form
    answer = fill(bob, phone_number=BOB, display_name="Bob", stake_amount="2000", opponent="code", match_code=code)
    assert answer["Location"] == "/waiting"
    for client, me, other in ((alice, "Alice", "Bob"), (bob, "Bob", "Alice")):
        met = client.get("/waiting", follow=True)
        address = met.redirect_chain[-1][0]
        assert address.startswith("/g/")
        assert "pt=" not in address
        assert me in met.content.decode()
        assert other in met.content.decode()
    assert "is here" in alice.get(address).content.decode()


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"phone_number": "123"}, "phone number"),
        ({"stake_amount": "ten"}, "whole UGX"),
        ({"stake_amount": "1"}, "from 1000 to 5000000"),
        ({"opponent": "friend", "invite_phone": "0312345678"}, "not a mobile number"),
        ({"opponent": "friend", "invite_phone": ALICE}, "cannot invite yourself"),
        ({"opponent": "code", "match_code": ""}, "6 letters and digits"),
        ({"opponent": "code", "match_code": "ABC234"}, "No match has this code"),
        ({"opponent": "nobody"}, "valid choice"),
        ({"display_name": "a\x07b"}, "control characters"),
    ],
)
def test_errors_stand_beside_the_field_and_input_is_kept(client: Client, fields: dict[str, str], message: str) -> None:
    answer = fill(client, **{"display_name": "Alice"} | fields)
    assert answer.status_code in (400, 404)
    page = answer.content.decode()
    assert message in page
    assert 'role="alert"' in page
    assert "Alice" in page or "display_name" in fields
    assert Entry.objects.count() == 0


def test_join_says_why_a_code_is_no_good(client: Client) -> None:
    assert "No match has this code" in client.get("/join", {"match_code": "ABC234"}).content.decode()
    assert "6 letters" in client.get("/join", {"match_code": "<b>"}).content.decode()
    created = stake(client, ALICE, create_private=True)
    stake(client, BOB, match_code=created["match_code"])
    page = client.get("/join", {"match_code": created["match_code"]}).content.decode()
    assert "no longer open" in page


def test_leaving_the_queue(client: Client) -> None:
    fill(client)
    assert client.get("/waiting/leave").status_code == 405
    page = client.post("/waiting/leave", follow=True).content.decode()
    assert "You left the queue" in page
    assert stake(client, CAROL)["status"] == "queued"


def test_waiting_without_a_stake_leads_to_the_start(client: Client) -> None:
    assert client.get("/waiting")["Location"] == "/"


def test_forms_carry_csrf() -> None:
    strict = Client(enforce_csrf_checks=True)
    assert fill(strict).status_code == 403
    page = strict.get("/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    assert fill(strict, csrfmiddlewaretoken=token[1]).status_code == 302
    assert "csrfmiddlewaretoken" in strict.get("/").content.decode()


@pytest.mark.parametrize("path", ["/", "/join", "/g/unknown", "/api/v1/config"])
def test_headers(client: Client, path: str) -> None:
    answer = client.get(path)
    # Not `no-referrer`: a browser then sends `Origin: null` with the forms, which Django refuses.
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    if not path.startswith("/api"):
        page = answer.content.decode()
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", page)


def test_pages_are_never_cached(client: Client) -> None:
    fill(client)
    for path in ("/", "/waiting"):
        assert "no-store" in client.get(path)["Cache-Control"]


def test_payment_is_waited_for(client: Client, settings: Any, sandbox: Sandbox) -> None:
    settings.MOMO_AUTO_APPROVE = False
    fill(client)
    assert "Waiting for your payment" in client.get("/waiting").content.decode()
    Entry.objects.update(status="expired", reason="payment_failed")
    page = client.get("/waiting").content.decode()
    assert "Your payment failed" in page
    assert "Stake again" in page
