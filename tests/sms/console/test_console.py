"""The admin for messages: list, search, filters, the history of one message, resending, CSV export."""

import csv
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.utils.translation.template import templatize

import sms
from sms import owners, timeline
from sms.dlr.statuses import record_report
from sms.models import SmsEvent, SmsMessage, Status
from sms.outbox import queue_sms
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/sms/smsmessage/"
PHONE, SHOWN = "+256772123456", "0772 123 456"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def text(**values: Any) -> SmsMessage:
    now = timezone.now()
    fields = {"phone": PHONE, "text": "hello", "kind": "match_found", "status": "sent", "created_at": now}
    return SmsMessage.objects.create(**{**fields, "expires_at": now + timedelta(hours=1), **values})


def page(client: Client, path: str = LIST, **query: Any) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


def listed(client: Client, **query: Any) -> set[int]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer
    return {message.pk for message in answer.context["cl"].result_list}


def test_a_row_says_what_became_of_it(operator: Client, settings: Any) -> None:
    settings.SMS_SEGMENT_COST_UGX = 35
    text(status="failed", error="DMark refuses the message (400).", segments=2, provider_id="dm-1")
    text(status="queued", created_at=timezone.now() - timedelta(minutes=5))
    html = page(operator)
    assert '<span class="sms-state failed">failed</span>' in html
    assert "DMark refuses the message (400)." in html
    assert "2 · 70 UGX" in html
    assert "dm-1" in html
    assert "5 min" in html
    assert SHOWN in html


def test_numbers_are_whole_for_who_may_see_them(client: Client) -> None:
    message = text(text="Call +256772123456")
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_smsmessage"))
    client.force_login(viewer)
    for path in (LIST, f"{LIST}{message.pk}/change/"):
        assert "0772 ••• 456" in page(client, path)
        assert PHONE not in page(client, path)
        assert SHOWN not in page(client, path)
    viewer.user_permissions.add(Permission.objects.get(codename="view_full_phone"))
    for path in (LIST, f"{LIST}{message.pk}/change/"):
        assert SHOWN in page(client, path)


@pytest.mark.parametrize("term", ["0772123456", "+256772123456", "256 772 123 456", "772123456", "0772-123-456"])
def test_search_by_a_number_in_any_form(operator: Client, term: str) -> None:
    mine = text()
    text(phone="+256772999999")
    assert listed(operator, q=term) == {mine.pk}


def test_search_by_id_and_reference(operator: Client) -> None:
    one = text(provider_id="dm-1", dedupe_key="session:12:3")
    two = text(provider_id="dm-2", dedupe_key="session:12:4")
    text(provider_id="dm-12", dedupe_key="session:123:3")
    assert listed(operator, q="dm-1") == {one.pk}
    assert listed(operator, q="session:12:4") == {two.pk}
    assert listed(operator, q="session:12") == {one.pk, two.pk}
    for nothing in ("dm-", "%", "'; DROP TABLE", "07", "9" * 300, "session:1"):
        assert listed(operator, q=nothing) == set()
    assert operator.get(LIST, {"q": "dm-1\0"}).status_code == 400


def test_filters(operator: Client) -> None:
    old = text(status="failed", kind="", created_at=timezone.now() - timedelta(days=2))
    new = text(status="failed", kind="private_invite")
    sent = text()
    assert listed(operator, status__exact="failed") == {old.pk, new.pk}
    assert listed(operator, kind="private_invite") == {new.pk}
    assert listed(operator, kind="-") == {old.pk}
    assert listed(operator, within="86400") == {new.pk, sent.pk}
    assert listed(operator, within="86400", status__exact="failed") == {new.pk}
    assert listed(operator, within="x") == {old.pk, new.pk, sent.pk}
    html = page(operator)
    for kind in ("plain", "private_invite", "match_found"):
        assert f">{kind}</a>" in html


def test_the_list_needs_few_queries_however_long_it_is(operator: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(60):
        text(kind=f"kind{number % 3}")
    for query in ({}, {"q": "0772123456"}, {"status__exact": "sent", "kind": "kind1", "within": "86400"}):
        with django_assert_max_num_queries(7):
            page(operator, **query)


def test_a_long_list_is_counted_no_further_than_it_is_shown(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("sms.admin_base.LONGEST_LIST", 5)
    for _ in range(8):
        text()
    html = page(operator)
    assert "Only the newest 5 are listed." in html
    assert operator.get(LIST).context["cl"].result_count == 5


def test_the_way_of_a_message_in_plain_words(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.SITE_URL = "http://testserver"
    sandbox.faults(send="503", send_times=1)
    message = queue_sms(PHONE, "Play here: http://x/g/t?pt=a-live-token", kind="match_found")
    message.refresh_from_db()
    assert message.status == "sent"
    record_report(message.pk, "PENDING", "push")
    record_report(message.pk, "FAILED", "poll")
    html = page(operator, f"{LIST}{message.pk}/change/")
    for words in (
        "Attempt 1: DMark had an error (HTTP 503",
        "DMark is in trouble (503).",
        "Accepted by DMark (HTTP 200",
        f"DMark message ID {message.provider_id}.",
        "Delivery report: on its way",
        "DMark&#x27;s status, polled by us: not delivered",
        "the network could not deliver it",
        "Resend",
    ):
        assert words in html, words
    way = html[html.index("<h2>Timeline") :]
    assert way.index("Attempt 1: ") < way.index("Accepted by DMark") < way.index("not delivered</b>")
    assert "a-live-token" not in html
    record_report(message.pk, "DELIVERED", "push")
    html = page(operator, f"{LIST}{message.pk}/change/")
    assert "Delivered to the phone." in html
    assert "Resend…" not in html


def test_what_a_provider_says_is_escaped(operator: Client) -> None:
    message = text(status="failed", error="<script>alert(1)</script>", provider_id="<b>")
    SmsEvent.objects.create(message=message, what="attempt", step="send", answer="<script>alert(2)</script>")
    for html in (page(operator), page(operator, f"{LIST}{message.pk}/change/")):
        assert "<script>alert" not in html


def test_each_text_leads_to_what_is_behind_it(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    stake(operator, ALICE)
    stake(operator, BOB)
    settings.MOMO_AUTO_APPROVE = False
    private = stake(operator, CAROL, 2000, create_private=True, invite_phone=BOB)
    paid(operator, private, CAROL)
    kinds = {message.kind: message for message in SmsMessage.objects.all()}
    assert set(kinds) == {"match_found", "private_invite", "payment_success"}
    for message in kinds.values():
        links = owners.links(message)
        assert links, message.kind
        for link in links:
            assert operator.get(link.url).status_code == 200
            assert f'<a href="{link.url}">{link.label}</a>' in page(operator, f"{LIST}{message.pk}/change/")
    for odd in ("session:x:1", "session:", "payment:99999:success", "invite:0", "other:1", "session:" + "9" * 30):
        assert all(operator.get(link.url).status_code in (200, 302) for link in owners.links(text(dedupe_key=odd)))


def test_nothing_can_be_edited(operator: Client) -> None:
    message = text()
    assert operator.post(f"{LIST}{message.pk}/change/", {"status": "delivered"}).status_code == 403
    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(f"{LIST}{message.pk}/delete/", {"post": "yes"}).status_code == 403


# --- resending


def order(client: Client, *messages: SmsMessage, confirmed: bool = True) -> Any:
    body = {"action": "resend", "_selected_action": [message.pk for message in messages]}
    return client.post(LIST, {**body, "post": "yes"} if confirmed else body, follow=True)


def test_the_number_is_shown_before_anything_is_sent(operator: Client, sandbox: Sandbox) -> None:
    failed, delivered = text(status="failed"), text(status="delivered")
    html = order(operator, failed, delivered, confirmed=False).content.decode()
    assert "2 selected, <b>1</b> can be resent." in html
    assert sandbox.sends == 0
    assert order(operator, failed, delivered).status_code == 200
    assert [sms["text"] for sms in sandbox.inbox()] == ["hello"]
    failed.refresh_from_db()
    assert failed.status == "sent"
    assert SmsMessage.objects.count() == 2


def test_what_may_arrive_twice_is_said_before(operator: Client, sandbox: Sandbox) -> None:
    ambiguous, failed = text(status="unknown", ambiguous_requests=4), text(status="failed")
    assert "1 could arrive twice" in order(operator, ambiguous, failed, confirmed=False).content.decode()
    assert "could arrive twice" not in order(operator, failed, confirmed=False).content.decode()
    order(operator, ambiguous)
    ambiguous.refresh_from_db()
    # The resend has reset the count to 0.
    assert (ambiguous.status, ambiguous.ambiguous_requests) == ("sent", 0)


def test_a_double_click_sends_once_and_the_trace_names_who(operator: Client, sandbox: Sandbox) -> None:
    message = text(status="undelivered")
    order(operator, message)
    assert "Nothing was resent" in order(operator, message).content.decode()
    assert sandbox.sends == 1
    assert SmsEvent.objects.get(what="resend").actor == "operator"
    assert "Resent by operator" in page(operator, f"{LIST}{message.pk}/change/")


def test_the_button_of_one_message_asks_first(operator: Client, sandbox: Sandbox) -> None:
    message = text(status="expired")
    html = page(operator, f"{LIST}{message.pk}/change/")
    assert 'name="_selected_action" value="' + str(message.pk) in html
    assert "1 selected, <b>1</b>" in order(operator, message, confirmed=False).content.decode()
    assert sandbox.sends == 0


def test_a_blanked_text_is_not_sent_again(operator: Client, sandbox: Sandbox) -> None:
    message = text(status="expired", text="Play: http://x/g/t?pt=[redacted]")
    assert "Resend…" not in page(operator, f"{LIST}{message.pk}/change/")
    order(operator, message)
    assert sandbox.sends == 0


def test_sending_again_while_sms_is_off_says_so(operator: Client) -> None:
    message = text(status="failed")
    assert "SMS is disabled" in order(operator, message).content.decode()
    message.refresh_from_db()
    assert message.status == "failed"


def test_permissions(client: Client, sandbox: Sandbox) -> None:
    message = text(status="failed")
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)
    for path in (LIST, f"{LIST}{message.pk}/change/", f"{LIST}export/"):
        assert client.get(path).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_smsmessage"))
    assert "resend" not in page(client)
    assert "Resend…" not in page(client, f"{LIST}{message.pk}/change/")
    order(client, message)
    assert sandbox.sends == 0
    viewer.user_permissions.add(Permission.objects.get(codename="resend_smsmessage"))
    order(client, message)
    assert sandbox.sends == 1
    client.logout()
    assert client.get(f"{LIST}export/").status_code == 302


# --- CSV


def rows(client: Client, **query: Any) -> list[dict[str, str]]:
    answer: Any = client.get(f"{LIST}export/", query)
    assert answer.status_code == 200
    assert "attachment" in answer["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))


def test_csv_holds_the_filtered_list(operator: Client, settings: Any) -> None:
    settings.SMS_SEGMENT_COST_UGX = 35
    text(status="failed", error='=HYPERLINK("http://evil")', provider_id="-1", segments=2)
    text(phone="+256772999999")
    assert len(rows(operator)) == 2
    (row,) = rows(operator, status__exact="failed")
    assert row["phone"] == "25677****456"
    assert (row["segments"], row["cost_ugx"]) == ("2", "70.0")
    assert row["error"] == '\'=HYPERLINK("http://evil")'
    assert row["provider_id"] == "'-1"
    assert len(rows(operator, q="0772999999")) == 1


def test_csv_ends_not_where_the_list_does(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("sms.admin_base.LONGEST_LIST", 3)
    for _ in range(5):
        text()
    assert len(rows(operator)) == 5


# --- query plans


def test_the_plans_use_indexes(operator: Client) -> None:
    """For each of these pages, PostgreSQL uses an index on a table of 20,000 rows."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's planner is the subject")
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sms_smsmessage (phone, text, kind, status, provider_id, attempts, retries, error, created_at,
                due_at, expires_at, claim, segments, holds_link, dedupe_key)
            SELECT '+25677' || lpad((n % 9000)::text, 7, '0'), 'x', (array['a', 'b', 'c'])[1 + n % 3],
                CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'delivered' END, 'dm' || n, 1, 0, '',
                now() - n * interval '1 minute', now(), now(), '', 1, false, 'r:' || n
            FROM generate_series(1, 20000) n"""
        )
        cursor.execute("ANALYZE sms_smsmessage")
    for query in (
        {},
        {"status__exact": "failed"},
        {"kind": "b"},
        {"within": "3600"},
        {"q": "0770000007"},
        {"q": "dm777"},
        {"q": "r:77"},
    ):
        result = operator.get(LIST, query).context["cl"].result_list
        plan = result.explain() if hasattr(result, "explain") else ""
        assert plan, query
        assert "Index" in plan, (query, plan)
        assert "Seq Scan" not in plan, (query, plan)


@pytest.mark.parametrize("fault", ["taken_reset", "taken_truncated", "taken_html", "taken_empty", "taken_504"])
def test_an_unclear_reply_is_never_called_a_refusal(operator: Client, sandbox: Sandbox, fault: str) -> None:
    """DMark may have the message, so no line on the page says that DMark refused it."""
    sandbox.faults(send=fault)
    message = queue_sms(PHONE, "hello")
    assert message is not None
    message.refresh_from_db()
    assert message.status == "unknown"
    html = page(operator, f"{LIST}{message.pk}/change/")
    assert "Ask the customer before resending: it could arrive twice." in html
    titles = [line.title for line in timeline.lines(message)]
    assert any(re.search("no clear reply from DMark|reply was not valid|had an error", title) for title in titles)
    assert not [title for title in titles if re.search("refused|rejected|not sent|not take|not accept", title, re.I)]


def test_every_status_has_its_words() -> None:
    assert set(timeline.MEANINGS) == set(Status.values)


def test_the_pages_can_be_translated() -> None:
    """Each sentence on a page is marked for translation, so that makemessages finds it."""
    found = 0
    for page in sorted((Path(sms.__file__).parent / "templates").rglob("*.html")):
        marked = templatize(page.read_text(), origin=page.name)
        found += marked.count("gettext(")
        shown = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}|<[^>]*>|&\w+;", "|", re.sub(BLOCKS, "|", page.read_text()), flags=re.S)
        assert re.findall(r"[A-Za-z]+ [a-z]+", shown) == [], page.name
    assert found > 60


BLOCKS = re.compile(r"{% blocktranslate.*?endblocktranslate %}", re.S)
