"""Requests that our pages never send, from a superuser: each admin list refuses them with a sentence and no error."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import AutoField, BigAutoField
from django.test import Client
from django.urls import reverse

from sms.outbox import queue_sms

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESSES = [
    "created_at__year=99999999",
    "created_at__year=-1",
    "created_at__year=",
    "received_at__year=99999999",
    "date_joined__year=1&date_joined__year=99999",
    "created_at__month=0&created_at__day=99",
    "created_at__gte=9999999-01-01",
    "created_at__range=1",
    "id__exact=abc",
    f"id__exact={'9' * 40}",
    "id__in=1,x",
    f"p={'9' * 40}",
    "p=-1",
    "o=1.-2.99.x",
    f"q={'9' * 5000}",
    "q=%ED%A0%80",
    "q=%22%5C%27",
    "status__exact=x",
    "within=99999999999999999999999",
    f"reason={'x' * 9000}",
    "today=x",
    "refund=x",
    "_to_field=password",
    "player__id__exact=x",
    "nonsense=1",
]
KEYS: list[Any] = ["abc", "9" * 40, "9" * 5000, "-1", "", "١", ["1", "x"]]
PLACES = [
    "abc/change/",
    f"{'9' * 40}/change/",
    "_1/change/",
    "abc/delete/",
    f"{'9' * 40}/history/",
    "add/",
    "export/?created_at__gte=9999999-01-01",
    "export/?created_at__year=99999999",
    f"export/?q={'9' * 5000}",
    "resend/?since=99999999-01-01",
    "resend/?since=25:99",
    "resend/?status=failed&since=0001-01-01T00:00",
    "resend/?status=failed&since=9999-12-31T23:59",
    "resend/?status=x&reason=y",
]


@pytest.fixture
def operator(client: Client, settings: Any) -> Client:
    settings.SMS_DELIVERY = "worker"
    queue_sms("+256772123456", "x")
    client.force_login(User.objects.create_superuser("operator", password="x"))
    client.raise_request_exception = False
    return client


def lists() -> dict[str, list[str]]:
    """Return the URL of each list, with its actions."""
    found = {}
    for model, shown in admin.site._registry.items():
        name = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        own = [action if isinstance(action, str) else action.__name__ for action in shown.actions or []]
        found[name] = ["delete_selected", *own]
    return found


def test_no_address_is_too_odd(operator: Client) -> None:
    said: dict[tuple[str, ...], int] = {}
    for place in lists():
        for query in ADDRESSES:
            said[place, query] = operator.get(f"{place}?{query}").status_code
        for more in PLACES:
            said[place, more] = operator.get(place + more).status_code
            said[place, more, "POST"] = operator.post(place + more, {}).status_code
    assert [asked for asked, status in said.items() if status >= 500] == []


def test_no_choice_is_too_odd(operator: Client) -> None:
    said = {
        (place, action, str(keys)): operator.post(place, {"action": action, "_selected_action": keys}).status_code
        for place, actions in lists().items()
        for action in actions
        for keys in KEYS
    }
    assert [asked for asked, status in said.items() if status != 400] == []


def test_it_is_said_in_a_sentence(operator: Client) -> None:
    page = operator.post("/admin/sms/smsmessage/", {"action": "resend", "_selected_action": "abc"})
    assert "Nothing was changed" in page.content.decode()
    export = operator.get("/admin/sms/smsmessage/export/?created_at__gte=9999999-01-01")
    assert export.status_code == 400
    assert "This list cannot be filtered like that." in export.content.decode()


def test_what_the_pages_send_is_read(operator: Client) -> None:
    assert operator.get("/admin/sms/smsmessage/?status__exact=sent").status_code == 200
    page = operator.post("/admin/sms/smsmessage/", {"action": "resend", "_selected_action": str(2**63 - 1)})
    assert page.status_code in (200, 302)


def test_every_key_is_such_a_number() -> None:
    for model in admin.site._registry:
        assert isinstance(model._meta.pk, AutoField | BigAutoField), model
