"""The pages without a browser: forms, cookies, links."""

import re
from typing import Any

import pytest
from django.test import Client

from game.models import Entry, Session
from game.rules.results import record_result
from tests.conftest import Sandbox
from tests.game.pages.helpers import fill, own
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, stake

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_players_meet_by_the_pages_alone(sandbox: Sandbox) -> None:
    alice, bob = Client(), Client()
    answer = fill(alice, display_name="Alice", stake_amount="2,000", opponent="friend", invite_phone=BOB)
    entry = Entry.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/waiting/{entry.pk}")
    page = alice.get(answer["Location"]).content.decode()
    code = entry.match_code or ""
    assert code in page
    assert "Your invite has been sent." in page
    link = re.search(r"/\?match_code=\S+", sandbox.inbox()[0]["text"])
    assert link
    form = bob.get(link[0]).content.decode()
    assert f'value="{code}"' in form
    assert 'value="2000"' in form
    answer = fill(bob, phone_number=BOB, display_name="Bob", stake_amount="2000", opponent="code", match_code=code)
    assert answer["Location"] == f"/waiting/{Entry.objects.latest('pk').pk}"
    for client, me, other in ((alice, "Alice", "Bob"), (bob, "Bob", "Alice")):
        met = client.get("/waiting", follow=True)
        address = met.redirect_chain[-1][0]
        assert address.startswith("/g/")
        assert "pt=" not in address
        assert me in met.content.decode()
        assert other in met.content.decode()
    assert address.endswith(f"/{Entry.objects.latest('pk').pk}")
    assert "Bob is here." in alice.get("/waiting", follow=True).content.decode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"phone_number": "123"}, "phone number"),
        ({"stake_amount": "ten"}, "whole UGX"),
        ({"stake_amount": "1"}, "from 1,000 to 5,000,000"),
        ({"opponent": "friend", "invite_phone": "0312345678"}, "not a mobile number"),
        ({"opponent": "friend", "invite_phone": ALICE}, "cannot invite yourself"),
        ({"opponent": "code", "match_code": ""}, "6 letters and digits"),
        ({"opponent": "code", "match_code": "ABC234"}, "No match has this code"),
        ({"opponent": "nobody"}, "choose one of these"),
        ({"display_name": "a\x07b"}, "special characters"),
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


def test_forms_carry_csrf() -> None:
    strict = Client(enforce_csrf_checks=True)
    assert fill(strict).status_code == 403
    page = strict.get("/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    assert fill(strict, csrfmiddlewaretoken=token[1]).status_code == 302
    assert "csrfmiddlewaretoken" in strict.get("/").content.decode()


def test_a_wrong_token_is_a_friendly_page() -> None:
    answer = fill(Client(enforce_csrf_checks=True))
    assert answer.status_code == 403
    assert "allow cookies" in answer.content.decode()


def test_presets_lie_within_the_limits(client: Client, settings: Any) -> None:
    settings.MIN_STAKE_AMOUNT, settings.MAX_STAKE_AMOUNT = 2000, 5000
    page = client.get("/").content.decode()
    assert re.findall(r'data-amount="(\d+)"', page) == ["2000", "5000"]


def test_an_unknown_page_is_friendly(client: Client) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "We can't find this page" in answer.content.decode()


def test_labels_errors_and_fields_belong_together(client: Client) -> None:
    page = fill(client, phone_number="123", opponent="friend", invite_phone="456").content.decode()
    for name in re.findall(r'<input type="(?!radio)[^>]* id="([^"]+)"', page):
        assert f'<label for="{name}"' in page
    assert len(re.findall(r'<label class="choice"><input type="radio"', page)) == 3
    for name in ("id_phone_number", "id_invite_phone"):
        [field] = re.findall(rf'<input[^>]* id="{name}"[^>]*>', page)
        assert 'aria-invalid="true"' in field
        described = re.search(r'aria-describedby="([^"]+)"', field)
        assert described
        for target in described[1].split():
            assert f'id="{target}"' in page
    # Only the first field with an error gets the focus.
    assert len(re.findall(r"\bautofocus\b", page)) == 1
    [field] = re.findall(r'<input[^>]* id="id_phone_number"[^>]*>', page)
    assert "autofocus" in field


# --- a friend's code


def test_join_shows_the_stake_before_paying(client: Client, settings: Any) -> None:
    settings.COMMISSION_FLAT = 500
    created = stake(client, ALICE, 3000, create_private=True)
    page = client.get("/join", {"match_code": created["match_code"].lower()}).content.decode()
    for words in ("3,000 UGX", "6,000 UGX", ">Pay 3,500 UGX</button>", "This includes our 500 UGX fee."):
        assert words in page
    [amount] = re.findall(r'<input[^>]*name="stake_amount"[^>]*>', page)
    assert 'value="3000"' in amount
    assert 'type="hidden"' in amount
    assert 'type="radio"' not in page
    # An error in another field leaves the stake locked, whatever the form contains.
    wrong = fill(client, phone_number="123", stake_amount="1", opponent="code", match_code=created["match_code"])
    [amount] = re.findall(r'<input[^>]*name="stake_amount"[^>]*>', wrong.content.decode())
    assert 'value="3000"' in amount
    assert 'type="hidden"' in amount
    answer = fill(client, phone_number=BOB, stake_amount="1000", opponent="code", match_code=created["match_code"])
    assert answer.status_code == 409
    assert "The stake of this match is 3,000 UGX." in answer.content.decode()


def test_join_says_why_a_code_is_no_good(client: Client) -> None:
    for code, words in (("ABC234", "No match has this code"), ("<b>", "6 letters")):
        page = client.get("/join", {"match_code": code}).content.decode()
        assert words in page
        assert re.search(r'value="code"[^>]*checked', page)
        assert code in page or "&lt;b&gt;" in page


@pytest.fixture
def gone_codes(settings: Any) -> dict[str, str]:
    """Match codes that cannot be joined, each with its reason."""
    used = stake(Client(), ALICE, create_private=True)
    stake(Client(), BOB, match_code=used["match_code"])
    old = stake(Client(), CAROL, create_private=True)
    Entry.objects.filter(match_code=old["match_code"]).update(expires_at="2026-01-01T00:00:00Z")
    settings.MOMO_AUTO_APPROVE = False
    stake(Client(), DAVE, create_private=True)
    settings.MOMO_AUTO_APPROVE = True
    unpaid = Entry.objects.get(player__phone="+256772000004").match_code or ""
    return {
        used["match_code"]: "This match code has already been used.",
        old["match_code"]: "This match code has expired.",
        unpaid: "This match is not open yet. Its creator has not paid.",
    }


def test_a_code_that_cannot_be_joined_has_its_own_page(client: Client, gone_codes: dict[str, str]) -> None:
    """There is no form, because the player could stake against a stranger by mistake."""
    before = Entry.objects.count()
    for code, words in gone_codes.items():
        shown = client.get("/join", {"match_code": code.lower()})
        typed = fill(client, phone_number="0772000009", opponent="code", match_code=code)
        assert (shown.status_code, typed.status_code) == (200, 409)
        for page in (shown.content.decode(), typed.content.decode()):
            assert words in page
            assert ("Ask your friend for a new invite" in page) == ("not open yet" not in words)
            assert (f'href="/join?match_code={code}"' in page) == ("not open yet" in words)
            assert 'class="stake"' not in page
            assert 'class="quiet" href="/join?opponent=anyone"' in page
    assert Entry.objects.count() == before


def test_a_stranger_is_never_preselected(client: Client) -> None:
    for address, chosen in (("/", "friend"), ("/?opponent=code", "code"), ("/?opponent=anyone", "anyone")):
        page = client.get(address).content.decode()
        assert re.findall(r'name="opponent" value="(\w+)"[^>]*checked', page) == [chosen]
    assert re.findall(r'name="opponent" value="(\w+)"', page) == ["friend", "code", "anyone"]


def test_a_newer_frontend_s_name_of_the_code(client: Client) -> None:
    code = stake(Client(), ALICE, 3000, create_private=True)["match_code"]
    for address in ("/", "/join"):
        assert "Join your friend" in client.get(address, {"matchcode": code}).content.decode()
        assert "Join your friend" in client.get(address, {"match_code": f"{code[:3]}-{code[3:]}"}).content.decode()


def test_search_engines_list_the_start_page_only(client: Client) -> None:
    code = stake(Client(), ALICE, 3000, create_private=True)["match_code"]
    fill(client, phone_number=BOB)
    hidden = f"/join?match_code={code}", own(client), "/link", "/g/unknown", "/nowhere"
    for address in hidden:
        assert '<meta name="robots" content="noindex">' in client.get(address).content.decode(), address
    assert "noindex" not in client.get("/").content.decode()


def test_join_says_who_invites(client: Client) -> None:
    for phone, name, words in (
        (ALICE, "Alice <3", "Alice &lt;3 (0772 ••• 001) invites you."),
        (BOB, "", "The player with the number 0772 ••• 002 invites you."),
    ):
        created = stake(Client(), phone, create_private=True, display_name=name)
        page = client.get("/join", {"match_code": created["match_code"]}).content.decode()
        assert words in page
        assert phone not in page
        assert phone.removeprefix("0") not in page


# --- money in words


def test_the_button_shows_stake_and_fee(client: Client, settings: Any) -> None:
    settings.COMMISSION_FLAT, settings.QUEUE_EXPIRY_MINUTES = 250, 7.5
    page = client.get("/").content.decode()
    assert re.search(r'data-fee="250" data-pay="Pay # UGX"[^>]*>Pay the stake<', page)
    rule = "our 250 UGX fee. If nobody joins within 7.5 minutes, you get everything back on the number you paid from."
    assert rule in page
    page = fill(client, phone_number="1", stake_amount="1,234,000").content.decode()
    assert ">Pay 1,234,250 UGX</button>" in page
    assert ">Pay the stake</button>" in fill(client, phone_number="1", stake_amount="9" * 500).content.decode()
    settings.COMMISSION_FLAT = 0
    assert "We take no fee. If nobody joins within 7.5 minutes," in client.get("/").content.decode()


def test_who_runs_it_is_in_the_footer(client: Client, settings: Any) -> None:
    [plain] = re.findall(r"<footer>.*?</footer>", client.get("/").content.decode(), re.DOTALL)
    assert "<p>" not in plain
    settings.SUPPORT_CONTACT, settings.TERMS_URL, settings.MIN_AGE = "0800 <100>", "https://example.com/terms?a&b", 25
    for address in ("/", "/nowhere"):
        [foot] = re.findall(r"<footer>.*?</footer>", client.get(address).content.decode(), re.DOTALL)
        assert "Help: <b>0800 &lt;100&gt;</b>" in foot
        assert "Only for players aged 25 or over." in foot
        assert '<a href="https://example.com/terms?a&amp;b">Terms</a>' in foot


# --- an open stake is found again


def test_the_start_shows_the_open_stake(client: Client, settings: Any) -> None:
    assert "Your open stake" not in client.get("/").content.decode()
    answer = fill(client, stake_amount="2000", opponent="friend")
    for name, path in (("stakes", "/"), ("stake", answer["Location"])):
        cookie = answer.cookies[name]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (path, True, "Lax")
    for words in ("Your open stake", "2,000 UGX · Waiting for your friend", f'href="{own(client)}"'):
        assert words in client.get("/").content.decode()
    assert "Your open stake" not in Client().get("/").content.decode()
    stake(Client(), BOB, 2000, match_code=Entry.objects.get().match_code)
    assert "2,000 UGX · Opponent found" in client.get("/").content.decode()
    session = Session.objects.get()
    assert record_result(session, "win", session.entries.first(), by="game server")
    assert "2,000 UGX · This match has ended" in client.get("/").content.decode()
    Session.objects.update(expires_at="2026-01-01T00:00:00Z")
    assert "Your match</h2>" not in client.get("/").content.decode()
    client.cookies["stakes"] = "forged:x"
    assert client.get("/").status_code == 200


def test_wrong_codes_are_counted_on_every_way(client: Client, settings: Any) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 3
    created = stake(Client(), ALICE, create_private=True)
    client.get("/join", {"match_code": "ABC234"})
    # The form is invalid, so no stake is placed, but the wrong code counts.
    fill(client, phone_number="123", opponent="code", match_code="ABC235")
    # A valid code does not count.
    assert client.get("/join", {"match_code": created["match_code"]}).status_code == 200
    fill(client, opponent="code", match_code="ABC236")
    for answer in (
        client.get("/join", {"match_code": created["match_code"]}),
        fill(client, phone_number=BOB, opponent="code", match_code=created["match_code"]),
    ):
        assert answer.status_code == 429
        assert answer["Retry-After"] == "600"
        assert "Too many wrong match codes" in answer.content.decode()
    assert client.get("/").status_code == 200
