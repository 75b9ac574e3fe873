"""The phones on the sandbox's page: their order, the search, and replies to the site."""

from typing import Any

import pytest
import requests

from sms.models import SmsInbound
from sms.sandbox.page import Links
from sms.sandbox.server import Server
from sms.testing import Sandbox
from tests.conftest import free_port
from tests.sandbox import page, send


@pytest.fixture
def links(sandbox_server: Server) -> Any:
    """Set the site's URLs in the running sandbox, and remove them after the test."""

    def set_links(**values: str) -> None:
        sandbox_server.page.links = Links(**values)

    yield set_links
    sandbox_server.page.links = Links()


def test_the_newest_activity_comes_first(sandbox: Sandbox) -> None:
    for number in ("0772000001", "0772000002", "0772000001"):
        send(sandbox, number, "hello")
    html = page(sandbox)
    assert html.index("Phone 0772 000 001") < html.index("Phone 0772 000 002")


@pytest.mark.parametrize(
    ("find", "shown"),
    [
        ("", {"0772 000 001", "0752 000 002"}),
        ("0772 000 001", {"0772 000 001"}),
        ("+256772000001", {"0772 000 001"}),
        ("0002", {"0752 000 002"}),
        ("WORLD", {"0752 000 002"}),
        ("nothing like it", set()),
        ("0772999999", {"0772 999 999"}),
        ("<script>", set()),
    ],
)
def test_a_search(sandbox: Sandbox, find: str, shown: set[str]) -> None:
    send(sandbox, "0772000001", "hello")
    send(sandbox, "0752000002", "hello world")
    html = requests.get(sandbox.url, {"find": find}, timeout=5).text
    numbers = ("0772 000 001", "0752 000 002", "0772 999 999")
    assert {number for number in numbers if f"Phone {number}" in html} == shown
    assert ("No phone matches" in html) is (not shown)
    assert "<script>”" not in html


def test_links_to_the_site(sandbox: Sandbox, links: Any) -> None:
    assert "Admin" not in page(sandbox)
    links(site="http://127.0.0.1:9")
    assert 'href="http://127.0.0.1:9/admin/"' in page(sandbox)


@pytest.mark.django_db(transaction=True)
def test_a_reply_reaches_the_site(sandbox: Sandbox, settings: Any, live_server: Any, links: Any) -> None:
    settings.SMS_INBOUND_SECRET = "inbound-secret-of-this-test"
    links(site=live_server.url, inbound=f"{live_server.url}/sms/inbound/inbound-secret-of-this-test/")
    answer = requests.post(f"{sandbox.url}/phones/0772000001/reply", json={"text": "STOP"}, timeout=10)
    assert (answer.status_code, answer.json()["note"]) == (200, "received by the site")
    received = SmsInbound.objects.get()
    assert (received.phone, received.text, received.command) == ("+256772000001", "STOP", "stop")
    assert "<p>STOP</p>" in page(sandbox)
    assert 'action="/phones/0772000001/reply"' in page(sandbox)


def test_a_reply_without_a_site(sandbox: Sandbox, links: Any) -> None:
    url = f"{sandbox.url}/phones/0772000001/reply"
    assert requests.post(url, json={"text": "STOP"}, timeout=5).status_code == 400
    links(inbound=f"http://127.0.0.1:{free_port()}/sms/inbound/x/")
    assert requests.post(url, json={"text": " "}, timeout=5).status_code == 400
    assert requests.post(url, json={"text": "STOP"}, timeout=5).json()["note"] == "the site did not answer"
    assert requests.post(f"{sandbox.url}/phones/12/reply", json={"text": "STOP"}, timeout=5).status_code == 404
