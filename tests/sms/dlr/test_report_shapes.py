"""Delivery reports in unusual formats: nested, in chunks, without a status, or from DMark's older host."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.test import Client, RequestFactory

from sms.dlr import view
from sms.dmark.dlr_url import dlr_url
from sms.models import SmsMessage
from sms.outbox import queue_sms
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = "+256772123456"


@pytest.fixture
def message(sandbox: Sandbox, settings: Any) -> SmsMessage:
    settings.SITE_URL = "http://testserver"
    return SmsMessage.objects.get(pk=queue_sms(PHONE, "hello").pk)


@pytest.fixture(autouse=True)
def no_shape_logged(monkeypatch: Any) -> None:
    monkeypatch.setattr(view, "_logged_shapes", set())


def path(message: SmsMessage) -> str:
    return dlr_url(message.pk).removeprefix("http://testserver")


def state(message: SmsMessage) -> str:
    return SmsMessage.objects.get(pk=message.pk).status


@pytest.mark.parametrize(
    "report",
    [
        {"Status": "DELIVERED"},
        {"STATUS": 1},
        [{"status": "DELIVERED"}],
        {"data": {"msg_id": 7, "status": "DELIVERED"}},
        {"reports": [{"msg_id": 7, "Status": "DELIVERED"}]},
        {"status": "%s", "data": {"status": "DELIVERED"}},
    ],
    ids=str,
)
def test_every_json_shape(client: Client, message: SmsMessage, report: object) -> None:
    assert client.post(path(message), json.dumps(report), content_type="application/json").status_code == 200
    assert state(message) == "delivered"


@pytest.mark.parametrize(
    ("number", "end"), [("1", "delivered"), ("2", "undelivered"), ("16", "undelivered"), ("4", "sent"), ("8", "sent")]
)
def test_the_older_host_puts_a_number_into_the_url(
    client: Client, message: SmsMessage, settings: Any, number: str, end: str
) -> None:
    settings.SMS_DLR_URL_SUFFIX = "?status=%s"
    assert dlr_url(message.pk).endswith("/?status=%s")
    assert client.post(path(message).replace("%s", number), {"uuid": "x"}).status_code == 200
    assert state(message) == end
    assert message.events.filter(what="report").get().answer == number


@pytest.mark.parametrize("suffix", ["?status=%s", "?status=%25s"])
def test_a_literal_placeholder_is_no_status(client: Client, message: SmsMessage, suffix: str) -> None:
    assert client.get(path(message) + suffix).status_code == 200
    assert not message.events.filter(what="report").exists()
    assert client.post(path(message) + suffix, {"status": "DELIVERED"}).status_code == 200
    assert state(message) == "delivered"


def test_a_form_with_a_capital_and_a_query(client: Client, message: SmsMessage) -> None:
    assert client.post(path(message), {"Status": "FAILED"}).status_code == 200
    assert state(message) == "undelivered"
    assert client.get(path(message) + "?STATUS=DELIVERED").status_code == 200
    assert state(message) == "delivered"


def test_a_report_without_a_status_is_logged_once_with_its_fields(
    client: Client, message: SmsMessage, caplog: Any
) -> None:
    for _ in range(2):
        client.post(path(message), json.dumps({"state": "ok", "msg_id": 7}), content_type="application/json")
    client.post(path(message), {"dlr": "1"})
    lines = [record.getMessage() for record in caplog.records if "dlr_without_status" in record.getMessage()]
    start = f"sms.dlr_without_status: a delivery report on message {message.pk} has no status; its fields are: "
    assert lines == [start + "msg_id, state", start + "dlr"]


def chunked(where: str, body: bytes, kind: str, *, decoded: bool) -> WSGIRequest:
    """Return a request that arrived in chunks, as a WSGI server passes it to Django."""
    request = RequestFactory().post(where, content_type=kind)
    request.environ["wsgi.input"] = BytesIO(body)
    request.environ["wsgi.input_terminated"] = decoded
    request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    request.environ.pop("CONTENT_LENGTH")
    return WSGIRequest(request.environ)


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="status"\r\n\r\nDELIVERED\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"status": "DELIVERED"}', "application/json"),
        (b"status=DELIVERED", "application/x-www-form-urlencoded"),
        (MULTIPART, "multipart/form-data; boundary=x"),
    ],
)
def test_a_chunked_body_is_read(message: SmsMessage, body: bytes, kind: str) -> None:
    signed = path(message).split("/")[-2]
    answer = view.delivery_report(chunked(path(message), body, kind, decoded=True), signed)
    assert answer.status_code == 200
    assert state(message) == "delivered"


def test_a_chunked_body_that_the_server_does_not_decode_is_refused(message: SmsMessage) -> None:
    request = chunked(path(message), b"status=DELIVERED", "application/x-www-form-urlencoded", decoded=False)
    assert view.delivery_report(request, path(message).split("/")[-2]).status_code == 411
    assert state(message) == "sent"


@pytest.mark.parametrize("in_chunks", [True, False])
def test_a_body_over_64_kib_is_refused(client: Client, message: SmsMessage, in_chunks: bool) -> None:
    body = b'{"status": "DELIVERED", "more": "' + b"x" * 65536 + b'"}'
    if in_chunks:
        request = chunked(path(message), body, "application/json", decoded=True)
        status = view.delivery_report(request, path(message).split("/")[-2]).status_code
    else:
        status = client.post(path(message), body, content_type="application/json").status_code
    assert status == 413
    assert state(message) == "sent"


def test_a_form_that_cannot_be_read_is_refused(client: Client, message: SmsMessage) -> None:
    answer = client.post(path(message), b"nonsense", content_type="multipart/form-data; boundary=" + "é" * 100)
    assert answer.status_code == 400
    assert answer.json() == {"error": "The body cannot be read."}
