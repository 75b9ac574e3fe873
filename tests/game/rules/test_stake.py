"""The API's endpoints for stakes, queue status and matches, with auto-approval."""

import re
import time
from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from game.models import Entry, Session
from payments.models import Payment
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, post, stake, status

pytestmark = pytest.mark.django_db(transaction=True)


def test_first_waits_and_second_matches(client: Client, sandbox: Sandbox) -> None:
    first = stake(client, "256772000001", display_name="Alice")
    assert first["status"] == "queued"
    assert first["stake_amount"] == 1000
    assert first["display_name"] == "Alice"
    assert status(client, first["queue_token"])["status"] == "queued"

    second = stake(client, BOB, "1000", display_name="Bob")
    assert second["status"] == "matched"
    assert (second["my_display_name"], second["opponent_display_name"]) == ("Bob", "Alice")
    assert second["prize_amount"] == 2000
    assert datetime.fromisoformat(second["expires_at"]).tzinfo is not None
    assert second["game_link"].endswith(f"/g/{second['game_token']}?pt={second['player_token']}")

    waited = status(client, first["queue_token"])
    assert waited["status"] == "matched"
    assert waited["game_link"].endswith(f"?pt={first['player_token']}")
    assert waited["opponent_display_name"] == "Bob"

    texts = {item["to"]: item["text"] for item in sandbox.inbox()}
    assert texts == {
        ALICE: f"Opponent found! Play here: {waited['game_link']}",
        BOB: f"Opponent found! Play here: {second['game_link']}",
    }


def test_session_endpoint(client: Client) -> None:
    first = stake(client, ALICE, display_name="Alice")
    second = stake(client, BOB, display_name="Bob")
    path = f"/api/v1/game/{second['game_token']}"
    plain = client.get(path).json()
    assert plain == {
        "game_token": second["game_token"],
        "status": "active",
        "stake_amount": 1000,
        "prize_amount": 2000,
        "expires_at": second["expires_at"],
    }
    mine = client.get(path, {"pt": first["player_token"]}).json()
    assert (mine["my_display_name"], mine["opponent_display_name"]) == ("Alice", "Bob")
    assert client.get(path, {"pt": "wrong"}).status_code == 403
    assert client.get("/api/v1/game/unknown").status_code == 404
    assert client.head(path).status_code == 200


def test_private_match_with_invite(client: Client, sandbox: Sandbox) -> None:
    created = stake(client, ALICE, 2000, create_private=True, invite_phone="+256 772 000 002")
    assert created["status"] == "private_created"
    code = created["match_code"]
    assert re.fullmatch("[ABCDEFGHJKMNPQRSTUVWXYZ23456789]{6}", code)
    assert created["sms_invite_sent"] is True
    assert created["sms_invite"]["status"] == "sent"
    [invite] = sandbox.inbox()
    assert invite["to"] == BOB
    assert invite["text"] == (
        f"Join my PlayMatatu private match! Code: {code}. Stake: 2000 UGX. Expires in 10 minutes. "
        f"Play: http://127.0.0.1:8000/?match_code={code}"
    )
    assert status(client, created["queue_token"])["match_code"] == code
    joined = stake(client, BOB, 2000, match_code=code.lower())
    assert joined["status"] == "matched"
    assert len(sandbox.inbox()) == 3
    again = post(client, phone_number=CAROL, stake_amount=2000, match_code=code)
    assert again.status_code == 409


def test_private_match_stays_out_of_the_public_queue(client: Client) -> None:
    assert stake(client, ALICE, create_private=True)["sms_invite"] is None
    assert stake(client, BOB)["status"] == "queued"


def test_an_invite_that_fails_does_not_fail_the_match(client: Client, sandbox: Sandbox) -> None:
    sandbox.faults(send="400")
    created = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert created["status"] == "private_created"
    assert created["sms_invite_sent"] is False
    assert created["sms_invite"]["status"] == "failed"
    assert "could not be sent" in created["message"]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": ALICE}, 400, "stake_amount"),
        ({"phone_number": "", "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": None, "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": "+254712345678", "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": "0312345678", "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": "07720", "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": "0772000001\x00", "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": True, "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": ["0772000001"], "stake_amount": 1000}, 400, "phone_number"),
        ({"phone_number": ALICE, "stake_amount": 1000.0}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": True}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": 10**30}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": "10e3"}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": "-1000"}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": "²"}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": 999}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": 5_000_001}, 400, "stake_amount"),
        ({"phone_number": ALICE, "stake_amount": 1000, "display_name": "x" * 51}, 400, "display_name"),
        ({"phone_number": ALICE, "stake_amount": 1000, "display_name": "a\x00b"}, 400, "display_name"),
        ({"phone_number": ALICE, "stake_amount": 1000, "display_name": "a\x1bb"}, 400, "display_name"),
        ({"phone_number": ALICE, "stake_amount": 1000, "display_name": "a\ud800b"}, 400, "display_name"),
        ({"phone_number": ALICE, "stake_amount": 1000, "display_name": 5}, 400, "display_name"),
        ({"phone_number": ALICE, "stake_amount": 1000, "create_private": "maybe"}, 400, "create_private"),
        (
            {"phone_number": ALICE, "stake_amount": 1000, "create_private": True, "invite_phone": "123"},
            400,
            "invite_phone",
        ),
        (
            {"phone_number": ALICE, "stake_amount": 1000, "create_private": True, "invite_phone": "+256772000001"},
            400,
            "invite_phone",
        ),
        (
            {"phone_number": ALICE, "stake_amount": 1000, "create_private": True, "match_code": "ABC234"},
            400,
            "match_code",
        ),
        ({"phone_number": ALICE, "stake_amount": 1000, "match_code": "ABC10O"}, 400, "match_code"),
        ({"phone_number": ALICE, "stake_amount": 1000, "match_code": "ABC234"}, 404, "match_code"),
    ],
)
def test_bad_input_creates_nothing(client: Client, body: dict[str, Any], code: int, field: str) -> None:
    answer = post(client, **body)
    assert answer.status_code == code, answer.content
    assert answer.json()["error"].endswith((".", "256772123456."))
    assert list(answer.json()["fields"]) == [field]
    assert Entry.objects.count() == 0
    assert SmsMessage.objects.count() == 0


def test_unknown_fields_and_empty_ones_are_ignored(client: Client) -> None:
    answer = stake(client, ALICE, colour="red", display_name="", match_code=None, invite_phone="", create_private=None)
    assert answer["status"] == "queued"


def test_codes_that_cannot_be_joined_consume_nothing(client: Client, settings: Any) -> None:
    created = stake(client, ALICE, 2000, create_private=True)
    code = created["match_code"]
    assert post(client, phone_number=BOB, stake_amount=3000, match_code=code).status_code == 409
    assert post(client, phone_number=ALICE, stake_amount=2000, match_code=code).status_code == 409
    stake(client, BOB, 5000)
    assert post(client, phone_number=BOB, stake_amount=2000, match_code=code).status_code == 409
    assert stake(client, CAROL, 2000, match_code=code)["status"] == "matched"


def test_one_open_entry_a_player_and_a_new_one_after_the_match(client: Client) -> None:
    stake(client, ALICE)
    assert post(client, phone_number=ALICE, stake_amount=2000).status_code == 409
    stake(client, BOB)
    assert stake(client, ALICE)["status"] == "queued"


def test_what_is_past_its_time_reads_expired_at_once(client: Client, settings: Any) -> None:
    settings.QUEUE_EXPIRY_MINUTES = 0.001
    created = stake(client, ALICE, create_private=True)
    first = stake(client, BOB)
    time.sleep(0.1)
    answer = status(client, first["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "timed_out")
    assert post(client, phone_number=CAROL, stake_amount=1000, match_code=created["match_code"]).status_code == 409
    # An expired entry is not matched, and its player can stake again.
    assert stake(client, CAROL)["status"] == "queued"
    assert stake(client, ALICE)["status"] in ("queued", "matched")


def test_queue_status_without_and_with_unknown_token(client: Client) -> None:
    assert client.get("/api/v1/game/queue/status").status_code == 400
    for token in ("nonsense", "1.nonsense", "\ud800"):
        answer = client.get("/api/v1/game/queue/status", {"queue_token": token.encode("utf-8", "replace").decode()})
        assert answer.status_code == 200
        assert answer.json()["status"] == "not_found"


def test_links_survive_a_key_rotation(client: Client, settings: Any) -> None:
    first = stake(client, ALICE)
    second = stake(client, BOB)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-after-the-rotation-" + "y" * 30
    assert status(client, first["queue_token"])["status"] == "matched"
    path = f"/api/v1/game/{second['game_token']}"
    assert client.get(path, {"pt": first["player_token"]}).status_code == 200


def test_the_commission_is_paid_on_top(client: Client, settings: Any) -> None:
    settings.COMMISSION_FLAT = 300
    first, second = stake(client, ALICE), stake(client, BOB)
    assert (second["stake_amount"], second["prize_amount"]) == (1000, 2000)
    assert status(client, first["queue_token"])["prize_amount"] == 2000
    assert set(Payment.objects.values_list("amount", flat=True)) == {1300}
    assert client.get("/api/v1/config").json() == {
        "commission_flat": 300,
        "min_stake_amount": 1000,
        "queue_expiry_minutes": 10,
    }


@pytest.mark.parametrize("left_there", [BOB, ALICE, "07720", "words", 5, ["x"], {"a": 1}, True])
@pytest.mark.parametrize("unticked", [{}, {"create_private": False}, {"create_private": "false"}])
def test_a_number_left_in_the_invite_field_is_ignored(client: Client, left_there: Any, unticked: Any) -> None:
    assert stake(client, ALICE, invite_phone=left_there, **unticked)["status"] == "queued"
    assert Entry.objects.get().invite_phone == ""
    assert SmsMessage.objects.count() == 0


def test_match_tokens_are_plain_letters_and_digits(client: Client) -> None:
    stake(client, ALICE)
    assert re.fullmatch("[A-Za-z0-9]{24}", stake(client, BOB)["game_token"])


def test_a_failing_receiver_changes_nothing_else(client: Client, sandbox: Sandbox, caplog: Any) -> None:
    from game.signals import session_committed

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("broken receiver")

    session_committed.connect(broken, weak=False)
    try:
        stake(client, ALICE)
        assert stake(client, BOB)["status"] == "matched"
    finally:
        session_committed.disconnect(broken)
    assert Session.objects.count() == 1
    assert len(sandbox.inbox()) == 2
    assert "broken receiver" in caplog.text
