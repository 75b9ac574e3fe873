"""'Never text me again' on the page of an invite."""

import re
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser

from game.models import Entry
from sms.models import SmsMessage, SmsSuppression
from tests.browsing import fits, tab
from tests.conftest import Sandbox
from tests.game.pages.helpers import fill, shown
from tests.game_helpers import ALICE, BOB, CAROL, stake
from tests.players import PHONE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def code(sandbox: Sandbox) -> str:
    """The match code of an invite to Bob."""
    return str(stake(Client(), ALICE, create_private=True, invite_phone=BOB)["match_code"])


def stop(code: str, client: Client | None = None) -> Any:
    return (client or Client()).post("/join/stop", {"match_code": code})


def test_the_button_stops_texts_to_the_invited_number(client: Client, code: str, sandbox: Sandbox) -> None:
    page = client.get("/join", {"match_code": code}).content.decode()
    [form] = re.findall(r'<form method="post" action="/join/stop".*?</form>', page, re.DOTALL)
    assert f'name="match_code" value="{code}"' in form
    assert "Never text me again" in form
    answer = stop(code, client)
    assert answer.status_code == 200
    assert "<h1>We won't text you again</h1>" in answer.content.decode()
    entry = SmsSuppression.objects.get()
    assert (entry.phone, entry.source) == ("+256772000002", "stop")
    # A later inviter learns only that the friend could not be texted.
    before = len(sandbox.inbox())
    other = Client()
    fill(other, phone_number=CAROL, opponent="friend", invite_phone=BOB)
    assert "Your friend could not be texted. Share the code." in shown(other)
    assert len(sandbox.inbox()) == before
    # Messages about the number's own money are still sent.
    stake(Client(), BOB, 7000)
    stake(Client(), "0772000009", 7000)
    assert SmsMessage.objects.get(kind="match_found", phone="+256772000002").status == "sent"


def test_the_answer_is_the_same_for_every_code(code: str) -> None:
    uninvited = stake(Client(), CAROL, create_private=True)["match_code"]
    used = stake(Client(), "0772000007", 4000, create_private=True, invite_phone="0772000008")["match_code"]
    stake(Client(), "0772000009", 4000, match_code=used)
    pages = set()
    for text in (code, f" {code[:3].lower()}-{code[3:]} ", code, used, uninvited, "ABC234", "", "?", "x" * 999):
        answer = stop(text)
        assert answer.status_code == 200
        pages.add(re.sub(r'value="\w{64}"', "", answer.content.decode()))
    assert len(pages) == 1
    assert set(SmsSuppression.objects.values_list("phone", flat=True)) == {"+256772000002", "+256772000008"}


def test_guessing_codes_is_limited(code: str, settings: Any) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 2
    for wrong in ("ABC234", "?"):
        assert stop(wrong).status_code == 200
    refused = stop(code)
    assert (refused.status_code, refused["Retry-After"]) == (429, "600")
    assert "Too many wrong match codes" in refused.content.decode()
    assert not SmsSuppression.objects.exists()


def test_it_takes_a_form_of_ours(client: Client, code: str) -> None:
    assert client.get("/join/stop").status_code == 405
    assert stop(code, Client(enforce_csrf_checks=True)).status_code == 403
    Entry.objects.update(invite_phone="")
    assert "/join/stop" not in client.get("/join", {"match_code": code}).content.decode()


@pytest.mark.parametrize("javascript", [True, False])
def test_in_a_browser(live_server: Any, code: str, browser: Browser, javascript: bool) -> None:
    page = tab(browser, PHONE, javascript)
    page.goto(f"{live_server.url}/?match_code={code}")
    button = page.get_by_role("button", name="Never text me again")
    box = button.bounding_box()
    assert box
    assert box["height"] >= 44
    assert fits(page, PHONE["width"])
    button.click()
    page.get_by_role("heading", name="We won't text you again").wait_for()
    assert fits(page, PHONE["width"])
