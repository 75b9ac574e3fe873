"""Matching, match codes, and the limits that protect strangers."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client, RequestFactory
from django.utils import timezone

from game.models import Entry, Player, Session, WrongCode
from game.rules.codes import joinable
from game.rules.limits import client_address
from payments.models import Payment
from sms.models import SmsMessage
from tests.conftest import RedisServer, Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid, post, stake, status

pytestmark = pytest.mark.django_db(transaction=True)

ERIN, FRANK = "0772000005", "0772000006"


def refused(client: Client, code: int, **body: Any) -> str:
    """Return the sentence of a refused stake. The refusal must have written no rows and used no code."""
    before = Entry.objects.count(), Payment.objects.count(), SmsMessage.objects.count()
    answer = post(client, **({"stake_amount": 1000} | body))
    assert answer.status_code == code, answer.content
    assert (Entry.objects.count(), Payment.objects.count(), SmsMessage.objects.count()) == before
    return str(answer.json()["error"])


def test_the_longest_open_comes_first(client: Client) -> None:
    """After a fault, three entries can wait at one level. The next player is matched with the oldest."""
    waiting = [stake(client, phone, 1000 + number) for number, phone in enumerate((ALICE, BOB, CAROL))]
    now = timezone.now()
    for placed, minutes in zip(waiting, (3, 5, 4), strict=True):
        Entry.objects.filter(pk=placed["queue_id"]).update(
            stake_amount=1000, opened_at=now - timedelta(minutes=minutes)
        )
    for phone, met in ((DAVE, BOB), (ERIN, CAROL), (FRANK, ALICE)):
        stake(client, phone)
        entry = Entry.objects.get(player__phone=f"+256{phone[1:]}")
        assert entry.opponent
        assert entry.opponent.phone == f"+256{met[1:]}"


def test_who_paid_first_was_open_first(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    alice, bob, carol = stake(client, ALICE), stake(client, BOB), stake(client, CAROL)
    for placed, phone in ((carol, CAROL), (bob, BOB), (alice, ALICE)):
        paid(client, placed, phone)
    states = [status(client, placed["queue_token"])["status"] for placed in (alice, bob, carol)]
    assert states == ["queued", "matched", "matched"]


def test_only_equal_stakes_meet(client: Client) -> None:
    stake(client, ALICE, 1000)
    assert stake(client, BOB, 1001)["status"] == "queued"
    assert stake(client, CAROL, "1001")["status"] == "matched"


def test_nobody_plays_against_their_own_phone(client: Client) -> None:
    placed = stake(client, "0772000001", create_private=True)
    for notation in ("0772000001", "+256772000001", "256772000001", "772000001"):
        refused(client, 409, phone_number=notation, match_code=placed["match_code"])
        refused(client, 409, phone_number=notation)


def test_a_matched_player_may_stake_again_at_once(client: Client) -> None:
    stake(client, ALICE)
    stake(client, BOB)
    assert stake(client, ALICE)["status"] == "queued"
    assert stake(client, BOB)["status"] == "matched"
    assert Session.objects.count() == 2


def test_the_database_keeps_one_open_entry_a_player(client: Client) -> None:
    """The database refuses a second open entry, even if the code has a bug."""
    stake(client, ALICE)
    entry = Entry.objects.get()
    with pytest.raises(IntegrityError):
        Entry.objects.create(
            player=entry.player,
            payment=Payment.objects.create(phone=entry.phone, amount=2000),
            stake_amount=2000,
            status="queued",
        )


@pytest.mark.parametrize("written", ["{}", " {} ", "{lower}", "my code is {lower}"])
def test_codes_are_read_kindly(client: Client, written: str) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    assert stake(client, BOB, match_code=written.format(code, lower=code.lower()))["status"] == "matched"


@pytest.mark.parametrize("code", ["ABC23", "ABC2345", "ABC10O", "ABCI23", "ABCL23", "ÀBC234", "ABC 34"])
def test_a_malformed_code(client: Client, code: str) -> None:
    assert "6 letters" in refused(client, 400, phone_number=BOB, match_code=code)


def test_an_unknown_code(client: Client) -> None:
    refused(client, 404, phone_number=BOB, match_code="ABC234")


def test_a_code_is_good_once(client: Client) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    stake(client, BOB, match_code=code)
    assert "used" in refused(client, 409, phone_number=CAROL, match_code=code)
    # Neither player of the match can use its code again.
    refused(client, 409, phone_number=BOB, match_code=code)


def test_an_expired_code(client: Client) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    Entry.objects.update(expires_at=timezone.now())
    assert "expired" in refused(client, 409, phone_number=CAROL, match_code=code)


def test_a_code_that_runs_out_while_one_joins(client: Client, monkeypatch: Any) -> None:
    """The match expires between the check of the code and the matching. The stake is then refused with 409."""
    code = stake(client, ALICE, create_private=True)["match_code"]
    stake(client, CAROL)

    def slow(*args: Any) -> Entry:
        entry = joinable(*args)
        Entry.objects.filter(pk=entry.pk).update(expires_at=timezone.now())
        return entry

    monkeypatch.setattr("game.rules.placing.joinable", slow)
    assert "expired" in refused(client, 409, phone_number=BOB, match_code=code)
    assert Session.objects.count() == 0


def test_a_code_that_is_not_open_yet(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    stake(client, ALICE, create_private=True)
    code = Entry.objects.get().match_code
    assert "not open yet" in refused(client, 409, phone_number=BOB, match_code=code)


def test_a_contested_payment_is_not_matched(client: Client, settings: Any) -> None:
    """If the provider took the money back, the entry is matched neither in public nor by its code."""
    settings.MOMO_AUTO_APPROVE = False
    public, private = stake(client, ALICE), stake(client, BOB, create_private=True)
    for placed, phone in ((public, ALICE), (private, BOB)):
        paid(client, placed, phone)
    code = Entry.objects.get(pk=private["queue_id"]).match_code
    joining = stake(client, CAROL, match_code=code)
    for placed, phone in ((public, ALICE), (private, BOB)):
        paid(client, placed, phone, "FAILED")
    assert "expired" in refused(client, 409, phone_number=DAVE, match_code=code)
    paid(client, joining, CAROL)
    paid(client, dave := stake(client, DAVE), DAVE)
    assert status(client, dave["queue_token"])["status"] == "matched"
    assert not Session.objects.filter(entries__payment__contested=True).exists()


def test_another_stake_says_which_is_right(client: Client) -> None:
    code = stake(client, ALICE, 2500, create_private=True)["match_code"]
    assert "2500 UGX" in refused(client, 409, phone_number=BOB, match_code=code)
    assert stake(client, BOB, 2500, match_code=code)["status"] == "matched"


def test_who_has_an_open_entry_joins_nothing(client: Client) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    waiting = stake(client, BOB, 5000)
    refused(client, 409, phone_number=BOB, match_code=code)
    assert status(client, waiting["queue_token"])["status"] == "queued"
    assert stake(client, CAROL, match_code=code)["status"] == "matched"


def test_a_refused_stake_leaves_an_unpaid_one_in_its_place(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    unpaid = stake(client, ALICE)
    refused(client, 404, phone_number=ALICE, match_code="ABC234")
    assert status(client, unpaid["queue_token"])["status"] == "awaiting_payment"


def test_a_late_payer_met_another_and_is_told(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    creator = stake(client, ALICE, create_private=True)
    paid(client, creator, ALICE)
    code = status(client, creator["queue_token"])["match_code"]
    bob, carol, dave = stake(client, BOB, match_code=code), stake(client, CAROL, match_code=code), stake(client, DAVE)
    paid(client, dave, DAVE)
    paid(client, carol, CAROL)
    paid(client, bob, BOB)
    first, late = status(client, carol["queue_token"]), status(client, bob["queue_token"])
    assert first["message"] == "Opponent found!"
    assert late["status"] == "matched"
    assert "taken" in late["message"]


def test_a_payment_for_another_does_not_touch_the_friends_code(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    creator = stake(client, ALICE, create_private=True)
    paid(client, creator, ALICE)
    paid(client, stake(client, BOB), BOB)
    assert status(client, creator["queue_token"])["status"] == "queued"


def test_what_was_stored_keeps_its_amounts(client: Client, settings: Any) -> None:
    """A new commission applies only to new stakes. Earlier stakes keep their amounts."""
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, 300
    placed = stake(client, ALICE)
    assert (placed["stake_amount"], placed["total_amount"], placed["display_name"]) == (1000, 1300, "")
    settings.COMMISSION_FLAT = 500
    assert status(client, placed["queue_token"])["total_amount"] == 1300
    paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"


# --- invites


@pytest.mark.parametrize(
    "invited", ["0772000001", "+256 772 000 001", "0312345678", "+254712345678", "07720", "0772000002;ext=5", "words"]
)
def test_an_invite_that_cannot_be(client: Client, invited: str) -> None:
    answer = post(client, phone_number=ALICE, stake_amount=1000, create_private=True, invite_phone=invited)
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["invite_phone"]
    assert Player.objects.count() == Entry.objects.count() == SmsMessage.objects.count() == 0


@pytest.mark.parametrize(
    ("fault", "ends"), [("500", "failed"), ("400", "failed"), ("html", "unknown"), ("hang", "unknown")]
)
def test_an_invite_that_fails_never_fails_the_match(
    client: Client, sandbox: Sandbox, settings: Any, fault: str, ends: str
) -> None:
    settings.SMS_READ_TIMEOUT = 0.2
    sandbox.faults(send=fault)
    created = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert (created["status"], created["sms_invite_sent"]) == ("private_created", False)
    assert created["sms_invite"] == {"id": SmsMessage.objects.get().pk, "status": ends}
    assert ("may have been sent" in created["message"]) == (ends == "unknown")
    assert stake(client, CAROL, match_code=created["match_code"])["status"] == "matched"


def test_an_invite_with_sms_disabled(client: Client) -> None:
    created = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert created["sms_invite"]["status"] == "disabled"
    assert created["sms_invite_sent"] is False


def invite(client: Client, phone: str, invited: str, **headers: str) -> dict[str, Any]:
    """Create a private match that is over at once, so that the player can create another one."""
    body = {"phone_number": phone, "stake_amount": 1000, "create_private": True, "invite_phone": invited}
    answer = client.post("/api/v1/game/stake", json.dumps(body), content_type="application/json", headers=headers)
    assert answer.status_code == 200, answer.content
    Entry.objects.filter(status="queued").update(status="expired")
    return dict(answer.json())


def test_the_default_limits_of_invites(client: Client) -> None:
    """An inviter may send 20 invites a day, a recipient gets 5.

    The match is created, and the response says why no invite was sent.
    """
    for number in range(20):
        assert invite(client, ALICE, f"07720001{number:02}")["sms_invite"]
    over = invite(client, ALICE, "0772000199")
    assert (over["status"], over["sms_invite"], over["sms_invite_sent"]) == ("private_created", None, False)
    assert "You have reached today's limit of invites." in over["message"]
    for number in range(5):
        assert invite(client, f"07720002{number:02}", BOB)["sms_invite"]
    over = invite(client, "0772000299", BOB)
    assert over["sms_invite"] is None
    assert "This number has reached today's limit" in over["message"]
    assert SmsMessage.objects.count() == 25
    # A day later everybody may invite again.
    Entry.objects.update(opened_at=timezone.now() - timedelta(hours=25))
    assert invite(client, ALICE, BOB)["sms_invite"]


def test_the_limit_of_an_address(client: Client, settings: Any) -> None:
    settings.INVITES_PER_ADDRESS_HOUR, settings.TRUSTED_PROXY_COUNT = 2, 1
    for number in range(3):
        made = invite(client, f"07720001{number:02}", f"07720002{number:02}", **{"X-Forwarded-For": "192.0.2.1"})
        assert (made["sms_invite"] is None) == (number == 2)
    assert "your network" in made["message"]
    assert invite(client, ALICE, BOB, **{"X-Forwarded-For": "192.0.2.1, 192.0.2.2"})["sms_invite"]
    Entry.objects.update(opened_at=timezone.now() - timedelta(minutes=61))
    assert invite(client, CAROL, DAVE, **{"X-Forwarded-For": "192.0.2.1"})["sms_invite"]


def test_unpaid_stakes_use_up_nobodys_invites(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    for number in range(6):
        stake(client, f"07720001{number:02}", create_private=True, invite_phone=BOB)
    honest = stake(client, ALICE, create_private=True, invite_phone=BOB)
    paid(client, honest, ALICE)
    assert SmsMessage.objects.filter(kind="private_invite").count() == 1


def test_an_invite_over_the_limit_is_told_before_the_payment(client: Client, settings: Any) -> None:
    settings.INVITES_PER_RECIPIENT_DAY = 1
    invite(client, CAROL, BOB)
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert "This number has reached today's limit" in placed["message"]
    paid(client, placed, ALICE)
    assert SmsMessage.objects.filter(kind="private_invite").count() == 1
    assert status(client, placed["queue_token"])["match_code"]


# --- guessing codes


def guess(client: Client, code: str = "ABC234", phone: str = CAROL) -> Any:
    return post(client, phone_number=phone, stake_amount=1000, match_code=code)


def test_a_hundred_wrong_codes_and_no_more(client: Client) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    # Malformed codes, and valid codes that cannot be joined, do not count as guesses.
    for _ in range(3):
        assert guess(client, "?").status_code == 400
        assert guess(client, code, ALICE).status_code == 409
    assert {guess(client).status_code for _ in range(100)} == {404}
    over = guess(client)
    assert over.status_code == 429
    assert 0 < int(over["Retry-After"]) <= 600
    assert list(over.json()["fields"]) == ["match_code"]
    # The right code is refused too, otherwise guessing could go on. A stake without a code is accepted.
    assert guess(client, code).status_code == 429
    assert stake(client, BOB)["status"] == "queued"


def test_wrong_codes_are_counted_without_redis_too(client: Client, redis_cache: RedisServer, settings: Any) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 2
    assert [guess(client).status_code for _ in range(2)] == [404, 404]
    redis_cache.stop()
    assert guess(client).status_code == 429
    # Ten minutes after the first wrong code, one more code is accepted.
    WrongCode.objects.filter(pk=WrongCode.objects.earliest("at").pk).update(at=timezone.now() - timedelta(minutes=11))
    assert [guess(client).status_code for _ in range(2)] == [404, 429]


def test_codes_are_guessed_from_the_whole_network(client: Client, settings: Any) -> None:
    """A subscriber has 2^64 addresses, and the owner of a /48 network has 65,536 times as many.

    Clients without an address are limited too.
    """
    settings.WRONG_CODES_PER_ADDRESS, settings.TRUSTED_PROXY_COUNT = 2, 1

    def guesses(address: str) -> int:
        return int(
            post(
                Client(headers={"X-Forwarded-For": address}), phone_number=CAROL, stake_amount=1000, match_code="ABC234"
            ).status_code
        )

    assert [guesses(f"2001:db8:1:1::{number}") for number in range(3)] == [404, 404, 429]
    site = [guesses(f"2001:db8:1:{number:x}::1") for number in range(2, 21)]
    assert site == [404] * 18 + [429]
    assert guesses("2001:db8:2::1") == 404
    assert [guesses(odd) for odd in ("unknown", "-", "?")] == [404, 404, 429]
    assert guesses("192.0.2.1") == 404


@pytest.mark.parametrize(
    ("count", "remote", "forwarded", "address"),
    [
        (0, "192.0.2.1", "198.51.100.9", "192.0.2.1"),
        (1, "10.0.0.1", "198.51.100.9", "198.51.100.9"),
        (1, "10.0.0.1", "6.6.6.6, 198.51.100.9", "198.51.100.9"),
        (2, "10.0.0.1", "6.6.6.6, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        (2, "10.0.0.1", "198.51.100.9", "10.0.0.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (1, "10.0.0.1", "unknown", ""),
        (1, "10.0.0.1", "198.51.100.9:4711", "198.51.100.9"),
        (1, "10.0.0.1", "[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::"),
        (1, "10.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::"),
        (1, "10.0.0.1", "::ffff:198.51.100.9", "198.51.100.9"),
        (1, "10.0.0.1", "'; DROP TABLE game_entry", ""),
        (0, "", "198.51.100.9", ""),
        (0, "fe80::1%eth0", "", "fe80::"),
    ],
)
def test_the_client_address(settings: Any, count: int, remote: str, forwarded: str, address: str) -> None:
    settings.TRUSTED_PROXY_COUNT = count
    request = RequestFactory().get("/", REMOTE_ADDR=remote, headers={"X-Forwarded-For": forwarded} if forwarded else {})
    assert client_address(request) == address


def test_an_odd_address_breaks_nothing(client: Client, settings: Any) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    assert invite(client, ALICE, BOB, **{"X-Forwarded-For": "unknown"})["sms_invite"]
    assert Entry.objects.get().client_address is None


def test_a_code_that_is_taken_is_drawn_again(client: Client, monkeypatch: Any) -> None:
    """The unique index decides. Because of a savepoint, the transaction of the stake continues, on PostgreSQL too."""
    first = stake(client, ALICE, create_private=True)["match_code"]
    draws = iter([first, first, "XYZ789"])
    monkeypatch.setattr("game.rules.codes.new_code", lambda: next(draws))
    assert stake(client, BOB, create_private=True)["match_code"] == "XYZ789"
    # A used code stays used, so that an old message never leads into another match.
    Entry.objects.update(status="expired")
    monkeypatch.setattr("game.rules.codes.new_code", lambda: first)
    answer = post(Client(raise_request_exception=False), phone_number=CAROL, stake_amount=1000, create_private=True)
    assert answer.status_code == 500
    assert not Entry.objects.filter(player__phone="+256772000003").exists()
