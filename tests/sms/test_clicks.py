"""Click tracking: the first click on the link in a message."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone

from sms.clicks import is_preview, record_click
from sms.console import overview
from sms.models import SmsEvent, SmsMessage
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, stake

pytestmark = pytest.mark.django_db(transaction=True)


PERSON = RequestFactory().get("/")


def sms(**values: Any) -> SmsMessage:
    at = timezone.now()
    fields: dict[str, Any] = {"phone": "+256772123456", "text": "x", "status": "sent", "expires_at": at}
    return SmsMessage.objects.create(**fields | values)


def clicked() -> list[str | None]:
    return [event.message.dedupe_key for event in SmsEvent.objects.filter(what="opened")]


def test_the_first_time_is_kept() -> None:
    message = sms(dedupe_key="session:1:2")
    for _ in range(3):
        record_click(PERSON, "session:1:2", "payment:1:success")
    message.refresh_from_db()
    assert message.opened_at
    assert clicked() == ["session:1:2"]


def test_the_first_existing_reference_counts() -> None:
    other = sms(dedupe_key="payment:1:success")
    record_click(PERSON, "nothing")
    assert clicked() == []
    record_click(PERSON, "session:1:2", "payment:1:success")
    assert clicked() == [other.dedupe_key]


def test_the_match_link_and_the_invite(client: Client, sandbox: Sandbox) -> None:
    stake(client, ALICE)
    link = stake(client, BOB)["game_link"]
    private = stake(client, CAROL, 2000, create_private=True, invite_phone="0772999999")
    path = link.partition("://")[2].partition("/")[2]
    client.head(f"/{path}")
    client.get(f"/{path}x")
    client.head("/", {"match_code": private["match_code"]})
    client.get("/", {"match_code": "AAAAAA"})
    assert clicked() == []
    for _ in range(2):
        assert Client().get(f"/{path}").status_code == 302
        assert Client().get("/", {"match_code": private["match_code"]}).status_code == 200
    kinds = SmsMessage.objects.filter(opened_at__isnull=False).values_list("kind", "phone")
    assert set(kinds) == {("match_found", "+256" + BOB[-9:]), ("private_invite", "+256772999999")}
    assert len(clicked()) == 2
    rows = {row.kind: row.clicked for row in overview.gather().kinds}
    assert rows == {"match_found": "50%", "private_invite": "100%"}


def test_the_share_a_kind(client: Client, sandbox: Sandbox) -> None:
    for kind, status, times in (
        ("match_found", "sent", 3),
        ("match_found", "failed", 4),
        ("payment_failed", "sent", 2),
    ):
        for _ in range(times):
            sms(kind=kind, status=status)
    first = SmsMessage.objects.filter(kind="match_found", status="sent").first()
    assert first
    first.opened_at = timezone.now() + timedelta(seconds=1)
    first.save()
    assert {row.kind: row.clicked for row in overview.gather().kinds} == {"match_found": "33%", "payment_failed": ""}
    client.force_login(User.objects.create_superuser("operator"))
    SmsEvent.objects.create(message=first, what="opened")
    assert ">33%</td>" in client.get("/admin/sms/").content.decode()
    page = client.get(f"/admin/sms/smsmessage/{first.pk}/change/").content.decode()
    assert "Link clicked for the first time" in page


PHONE_BROWSERS = [
    "Mozilla/5.0 (Linux; Android 13; TECNO BF7) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 Chrome/96.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 [FBAN/FBIOS;FBAV/440.0.0.34]",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.5.25 Version/10.54",
    "",
]
PREVIEWS = [
    "WhatsApp/2.23.20.0",
    "WhatsApp/2.2587.9 A",
    "TelegramBot (like TwitterBot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (Macintosh) AppleWebKit/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "SkypeUriPreview Preview/0.5",
]


@pytest.mark.parametrize("agent", PHONE_BROWSERS)
def test_a_person(agent: str) -> None:
    message = sms(dedupe_key="session:1:2")
    record_click(RequestFactory().get("/", headers={"User-Agent": agent}), "session:1:2")
    message.refresh_from_db()
    assert message.opened_at


@pytest.mark.parametrize("agent", PREVIEWS)
def test_a_link_preview_is_no_click(agent: str) -> None:
    message = sms(dedupe_key="session:1:2")
    record_click(RequestFactory().get("/", headers={"User-Agent": agent}), "session:1:2")
    message.refresh_from_db()
    assert message.opened_at is None
    assert clicked() == []


def test_a_prefetch_is_no_click() -> None:
    assert is_preview(RequestFactory().get("/", headers={"Sec-Purpose": "prefetch;prerender"}))
