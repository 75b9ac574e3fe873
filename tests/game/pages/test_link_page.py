"""'Text me my link' sends a link to an open stake and reveals nothing about a phone number."""

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.core.signing import BadSignature
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from game.models import Entry, LinkRequest, Session
from sms.models import SmsMessage
from tests.conftest import Sandbox, wait_for
from tests.game.pages.helpers import cancel
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)


def ask(phone: str = ALICE, client: Client | None = None, **more: Any) -> Any:
    return (client or Client()).post("/link", {"phone_number": phone}, **more)


def link_in(sandbox: Sandbox, count: int = 1) -> str:
    texts = [item for item in sandbox.inbox() if item["text"].startswith("Your PlayMatatu stake: ")]
    assert [text["to"] for text in texts] == [ALICE] * count
    return str(texts[0]["text"].split()[-1])


def test_the_link_of_an_open_stake(sandbox: Sandbox, settings: Any) -> None:
    settings.SITE_URL, settings.FRONTEND_URL = "https://sms.example.com", "https://play.example.com"
    stake(Client(), ALICE, 2000)
    answer = ask("+256 772 000 001")
    assert (answer.status_code, answer["Location"]) == (302, "/link?asked")
    address = link_in(sandbox)
    # The page is on SITE_URL, because a frontend on another host does not have it.
    assert address.startswith("https://sms.example.com/waiting?pt=")
    elsewhere = Client()
    followed = elsewhere.get(address.removeprefix("https://sms.example.com"))
    assert (followed.status_code, followed["Location"]) == (302, f"/waiting/{Entry.objects.get().pk}")
    assert "Searching for an opponent" in elsewhere.get(followed["Location"]).content.decode()
    # Only the browser that requested the link lists the stake, because anybody can forward a link.
    assert "Your open stake" not in elsewhere.get("/").content.decode()
    own = Client()
    ask(client=own)
    own.get(link_in(sandbox, 2).removeprefix("https://sms.example.com"))
    assert "Your open stake" in own.get("/").content.decode()
    message = SmsMessage.objects.filter(kind="own_link").earliest("pk")
    assert message.expires_at == Entry.objects.get().expires_at


def test_the_link_of_a_stake_that_awaits_its_payment(sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    stake(Client(), ALICE)
    ask()
    page = Client().get(link_in(sandbox).removeprefix(settings.SITE_URL), follow=True)
    assert "Waiting for your payment" in page.content.decode()


def test_the_link_of_a_match(sandbox: Sandbox, settings: Any) -> None:
    met = [stake(Client(), phone, display_name=phone) for phone in (BOB, ALICE)]
    ask()
    assert link_in(sandbox) == f"{settings.FRONTEND_URL}/g/{met[1]['game_token']}?pt={met[1]['player_token']}"


@pytest.fixture
def nothing_open(settings: Any) -> list[str]:
    """Return numbers without an open stake, a match or a refund due."""
    client = Client()
    client.post("/", {"phone_number": BOB, "stake_amount": "1000", "opponent": "anyone"})
    cancel(client)
    for phone in (CAROL, DAVE):
        stake(Client(), phone, 3000)
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    settings.MOMO_AUTO_APPROVE = False
    failed = stake(Client(), "0772000005")
    paid(Client(), failed, "0772000005", "FAILED")
    settings.MOMO_AUTO_APPROVE = True
    return [BOB, CAROL, "0772000005", "0772999999"]


def test_every_number_gets_the_same_answer(nothing_open: list[str], sandbox: Sandbox, settings: Any) -> None:
    stake(Client(), ALICE)
    settings.LINKS_PER_PHONE_HOUR = 1
    before = SmsMessage.objects.count()
    seen = set()
    for phone in (ALICE, ALICE, *nothing_open):  # With the second request Alice exceeds her limit.
        client = Client()
        answer = ask(phone, client)
        page = client.get(answer["Location"]).content.decode()
        page = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page)
        assert phone not in page
        headers = tuple(sorted((name, value) for name, value in answer.headers.items() if name != "Expires"))
        seen.add((answer.status_code, headers, answer.content, page))
    assert len(seen) == 1
    assert "If this number has an open stake or a match, we are texting its link now." in seen.pop()[-1]
    assert SmsMessage.objects.count() == before + 1


def test_the_answer_does_not_wait_for_the_text(live_server: Any, sandbox: Sandbox, settings: Any) -> None:
    """Inline delivery contacts DMark only after the response was sent."""
    settings.SMS_READ_TIMEOUT = 10.0
    stake(Client(), ALICE)
    sandbox.faults(send="late", answer_after=2)
    session = requests.Session()
    form = session.get(f"{live_server.url}/link", timeout=10).text
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[0]
    body = {"phone_number": ALICE, "csrfmiddlewaretoken": token}
    answer = session.post(f"{live_server.url}/link", body, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
    ended = SmsMessage.objects.filter(kind="own_link").exclude(status__in=("queued", "sending"))
    assert not ended.exists()
    wait_for(ended.exists)


def test_the_queries_before_the_answer_are_the_same(nothing_open: list[str]) -> None:
    """The number is not looked up before the response is sent."""
    stake(Client(), ALICE)
    asked = []
    for phone in (ALICE, *nothing_open):
        client = Client()
        client.raise_request_exception = False
        with CaptureQueriesContext(connection) as queries:
            ask(phone, client)
        before = []
        for query in queries.captured_queries:
            if "game_player" in query["sql"]:
                break
            before.append(re.sub(r"'[^']*'", "?", query["sql"].split(" RETURNING")[0]))
        asked.append([sql for sql in before if sql.startswith(("SELECT", "DELETE", "INSERT"))])
    assert asked[0]
    assert all(queries == asked[0] for queries in asked)


def test_a_phone_gets_a_few_an_hour(sandbox: Sandbox, settings: Any) -> None:
    settings.LINKS_PER_PHONE_HOUR = 2
    stake(Client(), ALICE)
    for _ in range(4):
        ask()
    texts = SmsMessage.objects.filter(kind="own_link")
    assert texts.count() == 2
    texts.update(created_at=timezone.now() - timedelta(minutes=61))
    ask()
    assert texts.count() == 3


def test_the_limit_of_an_address(settings: Any) -> None:
    settings.LINKS_PER_ADDRESS_HOUR, settings.TRUSTED_PROXY_COUNT = 2, 1
    for phone in (ALICE, BOB):
        assert ask(phone, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 302
    for phone in (ALICE, CAROL):
        refused = ask(phone, headers={"X-Forwarded-For": "192.0.2.1"})
        assert (refused.status_code, refused["Retry-After"]) == (429, "3600")
        assert "Too many links were requested from your network" in refused.content.decode()
    assert ask(headers={"X-Forwarded-For": "192.0.2.2"}).status_code == 302
    LinkRequest.objects.update(at=timezone.now() - timedelta(minutes=61))
    assert ask(headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 302
    assert LinkRequest.objects.count() == 1  # Rows older than the window were deleted.


def test_a_bad_number_is_shown_and_not_counted() -> None:
    answer = ask("0312345678")
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "not a mobile number" in page
    assert 'value="0312345678"' in page
    assert LinkRequest.objects.count() == 0
    assert Client(enforce_csrf_checks=True).post("/link", {"phone_number": ALICE}).status_code == 403


def test_a_forged_link_is_refused() -> None:
    stake(Client(), ALICE)
    entry = Entry.objects.get()
    for token in (f"{entry.pk}.forged", "x", "é", "x" * 5000):
        answer = Client().get("/waiting", {"pt": token})
        assert answer.status_code == 403
        assert "This link is not yours" in answer.content.decode()
        assert not {"stake", "stakes"} & set(answer.cookies)


def test_a_failure_after_the_answer_is_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stake(Client(), ALICE)

    def broken(phone: str) -> None:
        raise BadSignature("the database is away")

    monkeypatch.setattr("game.pages.waiting.text_own_link", broken)
    with caplog.at_level(logging.ERROR, "game.link"):
        assert ask().status_code == 302
    assert [record.getMessage() for record in caplog.records if record.name == "game.link"] == [
        "game.text_not_queued: the SMS with a player's own link could not be queued"
    ]


def test_nothing_is_promised_while_texts_are_off(client: Client, settings: Any) -> None:
    settings.SMS_SERVICE_PASSWORD = ""
    page = ask(client=client, follow=True).content.decode()
    assert "Texts are switched off at the moment, so we can't send a link." in page
    assert "texting its link" not in page
