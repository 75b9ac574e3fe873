"""The sandbox: its page, the switches, and the delivery reports."""

import re
import time
from contextlib import suppress
from typing import Any

import pytest
import requests

from sms.dmark.access_token import expires_at
from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.sandbox.faults import Faults
from sms.sandbox.switches import TEXTS
from sms.testing import Sandbox
from tests.conftest import wait_for
from tests.sandbox import assert_documented, assert_on_and_off, page, press, send, switches

database = pytest.mark.django_db(transaction=True)


def test_one_phone_a_number_newest_text_at_the_bottom(sandbox: Sandbox) -> None:
    for to, text in (("0772000001", "first"), ("0772000002", "other"), ("0772000001", "second")):
        send(sandbox, to, text)
    html = page(sandbox)
    assert html.count('class="phone"') == 2
    assert html.index("0772 000 001") < html.index("0772 000 002")
    assert html.index("<p>first</p>") < html.index("<p>second</p>") < html.index("<p>other</p>")
    assert [item["text"] for item in sandbox.inbox()] == ["second", "other", "first"]
    assert set(sandbox.inbox()[0]) == {"msg_id", "to", "text", "received_at"}


def test_an_empty_inbox_says_what_to_do(sandbox: Sandbox) -> None:
    assert "No phone has received anything yet." in page(sandbox)


def test_texts_are_escaped_and_only_web_links_are_links(sandbox: Sandbox) -> None:
    send(sandbox, "<b>1", "<script>alert(1)</script> javascript:alert(2) http://x/?a=1&b='2\"")
    html = page(sandbox)
    assert "<script>alert(1)" not in html
    assert "<b>1" not in html
    assert 'href="javascript' not in html
    assert 'href="http://x/?a=1&amp;b=&#x27;2"' in html


def test_a_great_many_phones_are_cut_short(sandbox: Sandbox) -> None:
    for number in range(40):
        send(sandbox, f"07720000{number:02}", "x")
    html = page(sandbox)
    assert html.count('class="phone"') == 24
    assert "16 more in" in html
    assert len(sandbox.inbox()) == 40


def test_the_page_is_sent_again_only_when_something_changed(sandbox: Sandbox) -> None:
    version = re.search(r'data-version="(\d+)"', page(sandbox))
    assert version
    seen = f"/?seen={version[1]}"
    assert requests.get(sandbox.url + seen, timeout=5).status_code == 204
    send(sandbox, "0772000001", "hello")
    assert "hello" in page(sandbox, seen)
    sandbox.faults(send="503")
    assert "Sending: 503" in page(sandbox, seen)


@pytest.mark.parametrize(
    "switch", [switch for group in TEXTS.groups.values() for switch in group], ids=lambda switch: switch.label
)
def test_each_switch_goes_on_and_off_by_its_button(sandbox: Sandbox, switch: Any) -> None:
    assert_on_and_off(sandbox, switch, Faults)


def fetched_token(sandbox: Sandbox) -> str:
    credentials = {"username": "a", "password": "b"}
    return str(requests.post(f"{sandbox.url}/api/get_token/", json=credentials, timeout=5).json()["access_token"])


def test_the_kind_and_the_lifetime_of_a_token(sandbox: Sandbox) -> None:
    sandbox.faults(token_life=60)
    ends = expires_at(fetched_token(sandbox))
    assert ends is not None
    assert 50 < ends - time.time() <= 60
    sandbox.faults(token_kind="past")
    ends = expires_at(fetched_token(sandbox))
    assert ends is not None
    assert ends < time.time()
    for kind in ("no_exp", "opaque"):
        sandbox.faults(token_kind=kind)
        assert expires_at(fetched_token(sandbox)) is None
    sandbox.faults(token_kind="missing")
    assert fetched_token(sandbox) == ""


def test_every_token_is_refused(sandbox: Sandbox) -> None:
    sandbox.faults(refuse_tokens=True)
    request = {"numbers": "0772000001", "msg": "hello"}
    headers = {"authToken": fetched_token(sandbox)}
    answer = requests.post(f"{sandbox.url}/v3/api/send_sms/", json=request, headers=headers, timeout=5)
    assert answer.status_code == 401


def test_clearing_the_faults_keeps_the_messages_and_a_reset_does_not(sandbox: Sandbox) -> None:
    send(sandbox, "0772000001", "hello")
    sandbox.faults(send="503", lose=True)
    assert requests.post(f"{sandbox.url}/well", data={}, timeout=5).json() == vars(Faults())
    assert len(sandbox.inbox()) == 1
    requests.post(f"{sandbox.url}/reset", timeout=5)
    assert sandbox.inbox() == []


@pytest.mark.parametrize(
    "body",
    [
        {"send": "banana"},
        {"nonsense": 1},
        {"latency_ms": "much"},
        {"latency_ms": -5},
        {"latency_ms": "nan"},
        {"token_times": "inf"},
        [1],
        {"lose": True, "send": "banana"},
    ],
)
def test_a_wrong_switch_is_named_and_nothing_changes(sandbox: Sandbox, body: Any) -> None:
    before = switches(sandbox)
    answer = requests.post(f"{sandbox.url}/faults", json=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert switches(sandbox) == before


@database
@pytest.mark.parametrize(
    ("report", "end", "words"),
    [
        ("delivered", "delivered", "reported: delivered"),
        ("failed", "undelivered", "reported: failed"),
        ("twice", "delivered", "reported: delivered, delivered"),
        ("backwards", "delivered", "reported: delivered, failed, pending"),
        ("numeric", "delivered", "reported: delivered"),
        ("before", "delivered", "reported: delivered"),
        ("repeated", "sent", "reported: pending, pending, pending, pending, pending"),
        ("never", "sent", "no report yet"),
    ],
)
def test_reports_are_shown_beside_the_text(
    sandbox: Sandbox, settings: Any, live_server: Any, report: str, end: str, words: str
) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(report=report, report_after=0.05)
    queue_sms("0772000001", "hello")
    wait_for(lambda: f">{words}</span>" in page(sandbox))
    assert SmsMessage.objects.get().status == end


@database
def test_a_lost_text_is_accepted_and_shown_nowhere(sandbox: Sandbox) -> None:
    sandbox.faults(lose=True)
    assert queue_sms("0772000001", "hello").pk
    assert SmsMessage.objects.get().status == "sent"
    assert sandbox.inbox() == []
    assert "hello" not in page(sandbox)
    assert "1 SMS accepted, then lost (fault switched on)." in page(sandbox)


@database
def test_nobody_reports_on_a_lost_text(sandbox: Sandbox, settings: Any, live_server: Any) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(lose=True, report="delivered", report_after=0)
    queue_sms("0772000001", "lost")
    sandbox.faults(lose=False)
    queue_sms("0772000002", "kept")
    wait_for(lambda: SmsMessage.objects.get(text="kept").status == "delivered")
    assert SmsMessage.objects.get(text="lost").status == "sent"


@database
def test_a_late_report_arrives_late(sandbox: Sandbox, settings: Any, live_server: Any) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(report="late", report_after=0, late_seconds=0.5)
    queue_sms("0772000001", "hello")
    assert SmsMessage.objects.get().status == "sent"
    wait_for(lambda: SmsMessage.objects.get().status == "delivered")


def test_one_switch_does_not_cut_another_short(sandbox: Sandbox) -> None:
    press(sandbox, "Token expired (once)")
    press(sandbox, "DMark is down")
    for _ in range(3):
        assert sandbox.server.state.fault("send").name == "503"
    press(sandbox, "Refuses the password")
    press(sandbox, "DMark is down")
    assert "Refuse every token: true" in page(sandbox)


def test_a_full_stop_is_no_part_of_a_link(sandbox: Sandbox) -> None:
    send(sandbox, "0772000001", "See http://x/y). And http://a.b/c.")
    html = page(sandbox)
    assert 'href="http://x/y"' in html
    assert 'href="http://a.b/c"' in html


def test_the_phone_with_the_newest_text_is_always_shown(sandbox: Sandbox) -> None:
    for number in range(30):
        send(sandbox, f"07720000{number:02}", "x")
    send(sandbox, "0772000000", "the newest")
    assert "the newest" in page(sandbox)


class Caller:
    """A client of the sandbox that does not use the project's own code."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.token = self.login("/api/get_token/").json()["access_token"]

    def login(self, path: str) -> requests.Response:
        return requests.post(self.url + path, json={"username": "u", "password": "p"}, timeout=5)

    def send(self, text: str = "hello", **more: str) -> requests.Response:
        body = {"msg": text, "numbers": "0772000001", "dlr_url": "", "scan_ip": False, **more}
        return requests.post(
            f"{self.url}/v3/api/send_sms/", json=body, headers={"authToken": self.token}, timeout=(1, 0.5)
        )


@pytest.mark.parametrize(
    ("kind", "status", "answer"),
    [
        ("no_credit", 400, {"msg_id": "", "status_code": "400", "description": "Account suspended"}),
        (
            "no_credit_failed",
            200,
            {"Failed": 1, "Total": 1, "Submitted": 0, "Detail": [], "description": "Account suspended"},
        ),
    ],
)
def test_the_account_is_refused_in_words(sandbox: Sandbox, kind: str, status: int, answer: dict[str, Any]) -> None:
    sandbox.faults(send_kind=kind, refusal="Account suspended")
    answered = Caller(sandbox).send()
    assert (answered.status_code, answered.json()) == (status, answer)
    assert sandbox.inbox() == []


@pytest.mark.parametrize("path", ["api", "v3"])
def test_a_token_is_had_on_one_path_alone(sandbox: Sandbox, path: str) -> None:
    caller = Caller(sandbox)
    sandbox.faults(token_path=path)
    assert caller.login("/api/get_token/").status_code == (201 if path == "api" else 404)
    assert caller.login("/v3/api/get_token/").status_code == (201 if path == "v3" else 404)


@pytest.mark.parametrize(
    "fault", ["taken_hang", "taken_reset", "taken_truncated", "taken_504", "taken_500", "taken_html", "taken_empty"]
)
def test_a_text_is_taken_and_the_answer_lost(sandbox: Sandbox, fault: str) -> None:
    caller = Caller(sandbox)
    sandbox.faults(send=fault, send_times=1, hang_seconds=1)
    with suppress(requests.RequestException):
        assert "msg_id" not in caller.send().text
    assert len(sandbox.inbox()) == 1
    assert caller.send().json()["Submitted"] == 1
    assert sandbox.counts()["texts"]["by_copies"] == {"2": 1}


@pytest.mark.parametrize("fault", ["hang", "reset", "truncated", "504"])
def test_a_text_is_lost_with_its_answer(sandbox: Sandbox, fault: str) -> None:
    caller = Caller(sandbox)
    sandbox.faults(send=fault, hang_seconds=1)
    with suppress(requests.RequestException):
        assert caller.send().status_code == 504 or fault == "truncated"
    assert sandbox.inbox() == []
    assert sandbox.sends == 1


def test_an_answer_that_is_late_is_right(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    sandbox.faults(send="late", answer_after=0.2)
    assert caller.send("in time").json()["Submitted"] == 1
    sandbox.faults(send="taken_late", answer_after=1.0, send_every=2)
    assert caller.send("at once").json()["Submitted"] == 1
    with pytest.raises(requests.Timeout):
        caller.send("too late")
    assert [item["text"] for item in sandbox.inbox()] == ["too late", "at once", "in time"]


@database
@pytest.mark.parametrize("word", "expired rejected undeliv undeliverable blacklisted deleted delivrd odd_word".split())
def test_words_of_reports(sandbox: Sandbox, settings: Any, live_server: Any, word: str) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(report=word, report_after=0)
    queue_sms("0772000001", "hello")
    said = {"odd_word": "esme_rsubmitfail"}.get(word, word)
    wait_for(lambda: f"reported: {said}</span>" in page(sandbox))


def test_every_switch_has_a_label_and_a_place_in_the_document() -> None:
    assert all(map(Faults.label, Faults.names()))
    assert_documented(Faults)


def test_counts_of_texts(sandbox: Sandbox) -> None:
    for to, text in (("0772000001", "a"), ("0772000001", "b"), ("0772000002", "a"), ("0772000002", "a")):
        sandbox.server.state.take(to, text, "")
    assert sandbox.counts()["texts"] == {
        "taken": 4,
        "different": 3,
        "by_copies": {"1": 2, "2": 1},
        "repeated": [{"to": "0772000002", "text": "a", "copies": 2}],
    }
