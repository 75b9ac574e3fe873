"""Settings in every form: typed values, strings, and invalid values."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from sms import conf


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SMS_READ_TIMEOUT", "abc", "SMS_READ_TIMEOUT must be a number, 0 or more, not 'abc'."),
        ("SMS_READ_TIMEOUT", 0, "SMS_READ_TIMEOUT must be more than 0 seconds."),
        ("SMS_CONNECT_TIMEOUT", "nan", "SMS_CONNECT_TIMEOUT must be a number"),
        ("SMS_LEASE_SECONDS", -1, "SMS_LEASE_SECONDS must be a number, 0 or more, not -1."),
        ("SMS_LIFE_SECONDS", "", "SMS_LIFE_SECONDS must be a number"),
        ("SMS_RATE_LIMIT_SECONDS", 1.5, "SMS_RATE_LIMIT_SECONDS must be a whole number, not 1.5."),
        ("SMS_TOKEN_FALLBACK_SECONDS", [], "SMS_TOKEN_FALLBACK_SECONDS must be a number"),
        ("SMS_SEGMENT_COST_UGX", "1 000", "SMS_SEGMENT_COST_UGX must be a number"),
        ("SMS_DLR_ENABLED", "maybe", "SMS_DLR_ENABLED must be true or false, not 'maybe'."),
        ("SMS_DELIVERY", "pigeon", "SMS_DELIVERY must be"),
        ("SMS_CATEGORIES", "promo", "SMS_CATEGORIES must be kind=Category"),
        ("SMS_CATEGORIES", "promo=", "SMS_CATEGORIES must be kind=Category"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(settings: Any, name: str, value: object, words: str) -> None:
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match="^" + words.replace("(", r"\(")):
        conf.current()


def test_strings_are_read_like_typed_values(settings: Any) -> None:
    settings.SMS_READ_TIMEOUT, settings.SMS_CONNECT_TIMEOUT = "7.5", 2
    settings.SMS_RATE_LIMIT_SECONDS, settings.SMS_DLR_ENABLED = "45", "False"
    settings.SMS_DELIVERY, settings.SMS_LIFE_SECONDS = " Worker", "600"
    config = conf.current()
    assert (config.read_timeout, config.connect_timeout, config.rate_limit) == (7.5, 2.0, 45)
    assert (config.dlr_enabled, config.delivery, config.life) == (False, "worker", 600.0)


@pytest.mark.parametrize("value", ["promo=Marketing, news = Alerts=all,", {"promo": "Marketing", "news": "Alerts=all"}])
def test_categories_by_kind(settings: Any, value: object) -> None:
    settings.SMS_CATEGORIES = value
    assert conf.current().categories == {"promo": "Marketing", "news": "Alerts=all"}
    settings.SMS_CATEGORIES = ""
    assert conf.current().categories == {}


@pytest.mark.parametrize("secret", ["gate:sesame@", "gate:ses@me@", "sesame@"])
def test_the_password_in_the_base_url_is_not_shown(settings: Any, secret: str) -> None:
    settings.SMS_SERVICE_BASE_URL = f"https://{secret}sms.example.com/v3"
    assert conf.current().shown_base_url == "https://sms.example.com/v3"
