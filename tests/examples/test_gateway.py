"""Run the example gateway between the app and a fake of Africa's Talking."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests

from sms.dmark.dlr_url import dlr_url
from sms.errors import InDoubt, ProviderRejected
from sms.models import SmsMessage
from sms.outbox import send_sms
from sms.testing import serving
from tests.conftest import free_port, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]


class AfricasTalking:
    """A fake of the provider.

    It responds to each message with the HTTP status `http` and `answer` (status and recipient), or closes the
    connection if `answer` is None. Without a recipient, it refuses the request.
    """

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.http = 201
        self.answer: tuple[int, dict[str, Any]] | None = (101, {"status": "Success", "messageId": "ATXid_1"})
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                fake.forms.append(form | {"key": self.headers["apiKey"]})
                if fake.answer is None:
                    return
                status, recipient = fake.answer
                recipients = [{"statusCode": status, **recipient}] if recipient else []
                data = {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": recipients}}
                self.send_response(fake.http)
                self.end_headers()
                self.wfile.write(json.dumps(data).encode())

            def log_message(self, *arguments: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def provider() -> Iterator[AfricasTalking]:
    fake = AfricasTalking()
    with serving(fake.server):
        yield fake


@pytest.fixture
def gateway(provider: AfricasTalking, settings: Any) -> Iterator[str]:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "AT_URL": f"http://127.0.0.1:{provider.server.server_port}/",
        "AT_USERNAME": "sandbox",
        "AT_API_KEY": "key",
        "GATEWAY_USERNAME": "shop",
        "GATEWAY_PASSWORD": "secret",
        "PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, ROOT / "examples" / "gateway" / "gateway.py"], env=environment)
    url = f"http://127.0.0.1:{port}"
    settings.SMS_SERVICE_BASE_URL, settings.SMS_RATE_LIMIT_SECONDS = url, 0
    settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "shop", "secret"
    try:
        wait_for(lambda: _listens(url), seconds=20)
        yield url
    finally:
        process.terminate()
        process.wait()


def _listens(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code > 0
    except requests.ConnectionError:
        return False


def test_a_message_and_its_report(provider: AfricasTalking, gateway: str, live_server: Any, settings: Any) -> None:
    settings.SITE_URL = live_server.url
    message = send_sms("0772123456", "Hello.")
    assert (message.status, message.provider_id) == ("sent", "ATXid_1")
    assert provider.forms == [{"username": "sandbox", "to": "+256772123456", "message": "Hello.", "key": "key"}]
    assert dlr_url(message.pk).startswith(live_server.url)
    requests.post(f"{gateway}/report", data={"id": "ATXid_1", "status": "Success"}, timeout=10)
    message.refresh_from_db()
    assert message.status == "delivered"


def test_a_refusal_and_a_lost_response(provider: AfricasTalking, gateway: str) -> None:
    provider.answer = (403, {"status": "InvalidPhoneNumber", "messageId": "None"})
    with pytest.raises(ProviderRejected, match="InvalidPhoneNumber"):
        send_sms("0772123456", "Hello.")
    provider.answer = (0, {})
    with pytest.raises(ProviderRejected, match="InvalidSenderId"):
        send_sms("0772123458", "Hello.")
    provider.answer = None
    with pytest.raises(InDoubt):
        send_sms("0772123457", "Hello.")
    statuses = SmsMessage.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == ["failed", "failed", "unknown"]
    assert len(provider.forms) == 4


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_providers_server_has_an_unknown_outcome(
    provider: AfricasTalking, gateway: str, status: int
) -> None:
    provider.http = status
    with pytest.raises(InDoubt):
        send_sms("0772123456", "Hello.")


def test_wrong_credentials(provider: AfricasTalking, gateway: str, settings: Any) -> None:
    settings.SMS_SERVICE_PASSWORD = "wrong"
    with pytest.raises(Exception, match="refuses the credentials"):
        send_sms("0772123456", "Hello.")
    assert provider.forms == []
