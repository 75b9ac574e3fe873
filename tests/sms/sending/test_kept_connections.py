"""A provider that responds to the first request on each connection, and closes the connection at the second request."""

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection as database

from sms.models import SmsMessage
from sms.outbox import NewMessage, deliver, queue_many
from sms.worker.worker import Options, Worker
from tests.sms.worker.loop_host import Host, host

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGES, THREADS = 300, 8


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def serve(one: Host, connection: socket.socket, number: int) -> None:
    with suppress(OSError):
        head = one.read(connection)
        connection.sendall(answer(b'{"access_token": "opaque"}' if b"get_token" in head else b'{"msg_id": 7}'))
        one.read(connection)


@pytest.fixture
def provider(settings: Any) -> Any:
    settings.SMS_DELIVERY, settings.SMS_RATE_LIMIT_SECONDS = "worker", 0
    with host(serve) as one:
        settings.SMS_SERVICE_USERNAME = settings.SMS_SERVICE_PASSWORD = "x"
        settings.SMS_SERVICE_BASE_URL = one.url.removesuffix("/send/")
        queue_many([NewMessage(f"0772{number:06}", f"message {number}") for number in range(MESSAGES)])
        yield one


def waiting_for_a_minute() -> int:
    return SmsMessage.objects.filter(ambiguous_requests__gte=2).count()


def test_no_message_waits_for_a_minute_in_the_worker(provider: Host) -> None:
    while SmsMessage.objects.filter(status="queued", ambiguous_requests__lt=2).exists():
        assert Worker(Options(once=True)).run()
    assert waiting_for_a_minute() == 0
    assert SmsMessage.objects.filter(status="sent").count() == MESSAGES
    # Only a few requests are lost before the worker stops using kept connections.
    assert SmsMessage.objects.filter(ambiguous_requests=1).count() <= 2 * 64


def test_no_message_is_lost_inline_by_threads_that_share_connections(provider: Host) -> None:
    pks = list(SmsMessage.objects.values_list("pk", flat=True))

    def send(rank: int) -> None:
        for pk in pks[rank::THREADS]:
            deliver(pk)
        database.close()

    senders = [threading.Thread(target=send, args=(rank,)) for rank in range(THREADS)]
    for sender in senders if database.vendor == "postgresql" else ():
        sender.start()
    for rank, sender in enumerate(senders):
        if database.vendor == "postgresql":
            sender.join(120)
        else:
            send(rank)
    assert SmsMessage.objects.filter(status="sent").count() == MESSAGES
    assert SmsMessage.objects.filter(ambiguous_requests=1).count() <= 2 * THREADS + 3
