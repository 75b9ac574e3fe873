"""The test helpers that the app offers to other projects."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction

from sms.models import SmsMessage
from sms.outbox import aqueue_sms, asend_sms, queue_sms, send_sms
from sms.testing import Sandbox, Texts, assert_texted, texts

pytestmark = pytest.mark.django_db(transaction=True)


def test_texts_holds_the_messages_of_the_block() -> None:
    with texts():
        queue_sms("0772123456", "before")
    with texts() as sent:
        assert not sent
        queue_sms(256772123456, "one", kind="greeting")
        queue_sms("0772123457", "two")
    queue_sms("0772123456", "after, and SMS is switched off again")
    assert [(message.text, message.status) for message in sent[:2]] == [("one", "sent"), ("two", "sent")]
    assert [message.text for message in sent.to("+256 772 123 457")] == ["two"]
    assert "greeting to +256772123456, sent: 'one'" in repr(sent)


def test_a_rolled_back_message_was_not_texted() -> None:
    with texts() as sent:
        with transaction.atomic():
            queue_sms("0772123456", "never")
            transaction.set_rollback(True)
        assert len(sent) == 0
    with pytest.raises(AssertionError, match="was not texted 'never'; to that number: nothing"):
        assert_texted("0772123456", "never")


def test_assert_texted(sms_texts: Texts) -> None:
    queue_sms("0772123456", "Your code is 1234.", kind="code")
    assert assert_texted("0772123456", "Your code is 1234.") == sms_texts[0]
    assert_texted(772123456, re.compile(r"code is \d{4}"), kind="code")
    assert_texted("0772123456")
    for text, kind in (("Your code", None), ("Your code is 1234.", "other"), (re.compile("^code"), None)):
        with pytest.raises(AssertionError, match=r"code to .256772123456, sent: 'Your code is 1234.'"):
            assert_texted("0772123456", text, kind=kind)


def test_a_failed_message_does_not_count(sms_sandbox: Sandbox) -> None:
    sms_sandbox.faults(send="400")
    queue_sms("0772123456", "refused")
    with pytest.raises(AssertionError, match=r"was not texted: failed. DMark refuses the message"):
        assert_texted("0772123456", "refused")


def test_a_disabled_message_does_not_count() -> None:
    queue_sms("0772123456", "off")
    with pytest.raises(AssertionError, match="was not texted: disabled"):
        assert_texted("0772123456", "off")


@pytest.mark.django_db(transaction=False)
def test_a_message_in_an_open_transaction_waits(sms_texts: Texts) -> None:
    queue_sms("0772123456", "waits for its commit")
    assert sms_texts[0].status == "queued"
    assert_texted("0772123456", "waits for its commit")


async def _greet() -> list[SmsMessage]:
    return [await aqueue_sms("0772123456", "queued"), await asend_sms(772123457, "now", kind="greeting")]


def test_async(sms_sandbox: Sandbox) -> None:
    from asgiref.sync import async_to_sync

    queued, sent = async_to_sync(_greet)()
    assert (queued.text, sent.status) == ("queued", "sent")
    assert [item["text"] for item in sms_sandbox.inbox()] == ["now", "queued"]


def test_each_sandbox_is_new(sms_sandbox: Sandbox) -> None:
    send_sms("0772123456", "here")
    assert [item["to"] for item in sms_sandbox.inbox()] == ["0772123456"]
    assert (sms_sandbox.token_requests, sms_sandbox.sends) == (1, 1)
    assert sms_sandbox.url == settings.SMS_SERVICE_BASE_URL


REAL_SETTINGS = """
SECRET_KEY = "x" * 50
INSTALLED_APPS = ["sms"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SMS_SERVICE_BASE_URL = "https://sms.example.com"
SMS_SERVICE_USERNAME, SMS_SERVICE_PASSWORD = "real", "credentials"
"""
REAL_TESTS = """
import pytest
from sms.outbox import queue_sms
from sms.testing import assert_texted

@pytest.mark.django_db(transaction=True)
def test_off():
    assert queue_sms("0772123456", "nobody gets this").status == "disabled"

@pytest.mark.django_db(transaction=True)
def test_on(sms_texts):
    queue_sms("0772123456", "the sandbox gets this")
    assert sms_texts[0].status == "sent"
"""


def test_a_project_with_real_credentials_sends_nothing_for_real(pytester: Any, monkeypatch: Any) -> None:
    pytester.makepyfile(real_settings=REAL_SETTINGS, test_real=REAL_TESTS)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # pytest would load each plugin that is installed here.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nDJANGO_SETTINGS_MODULE = real_settings\npythonpath = .\n")
    plugins = "-p pytest_django.plugin -p playmatatu_sms_pytest -p no:cacheprovider"
    ended = pytester.runpytest_subprocess(*plugins.split())
    ended.assert_outcomes(passed=2)
