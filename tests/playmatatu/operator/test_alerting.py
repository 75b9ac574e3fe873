"""A person is alerted when money is contested, and when it no longer is."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from payments.models import Payment
from sms import alerts
from sms.models import SmsAlert

pytestmark = pytest.mark.django_db(transaction=True)


def test_contested_money_is_told_once(mailoutbox: list[Any], settings: Any) -> None:
    import django

    address = "night@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [(address, address)]
    alerts.check()
    assert mailoutbox == []
    payment = Payment.objects.create(phone="+256772000001", amount=1000, status="SUCCESS", contested=True)
    for _ in range(2):
        alerts.check()
    (letter,) = mailoutbox
    assert "1 payment is contested: the provider reported success and then failure, or the reverse." in letter.body
    payment.contested = False
    payment.save()
    alerts.check(timezone.now() + timedelta(minutes=3))
    assert [letter.subject.split(":")[0] for letter in mailoutbox] == ["[PlayMatatu] begins", "[PlayMatatu] over"]
    assert not SmsAlert.objects.exists()
