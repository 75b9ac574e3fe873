"""pytest's part, loaded by itself where the app is installed: SMS is off in tests, but for the sandbox of a fixture."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

# Nothing of Django is imported before pytest-django has set it up.
if TYPE_CHECKING:
    from sms.testing import Sandbox, Texts

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session", autouse=True)
def sms_stays_here() -> Iterator[None]:
    """Turns SMS off for the whole run where the settings name a provider that is not on this machine."""
    from django.conf import settings

    if not settings.configured or _is_here(str(getattr(settings, "SMS_SERVICE_BASE_URL", "") or "")):
        yield
        return
    from django.test import override_settings

    with override_settings(SMS_SERVICE_BASE_URL="", SMS_SERVICE_USERNAME="", SMS_SERVICE_PASSWORD=""):
        yield


def _is_here(url: str) -> bool:
    try:
        return not url or urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False


@pytest.fixture
def sms_sandbox() -> Iterator["Sandbox"]:
    """DMark's stand-in over real HTTP; see `sms.testing.sandbox`."""
    from sms.testing import sandbox

    with sandbox() as stand_in:
        yield stand_in


@pytest.fixture
def sms_texts(db: None) -> Iterator["Texts"]:
    """What the test texts; see `sms.testing.texts`."""
    from sms.testing import texts

    with texts() as sent:
        yield sent
