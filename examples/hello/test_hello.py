"""Tests of the messages that a project sends, with the fixtures of the `sms` app."""

import pytest
from django.test import Client

from sms.testing import Texts, assert_texted


@pytest.mark.django_db(transaction=True)
def test_hello(client: Client, sms_texts: Texts) -> None:
    assert client.get("/hello/0772123456/").status_code == 200
    assert_texted("0772123456", "Hello from my own project.")
    assert [message.status for message in sms_texts] == ["sent"]
