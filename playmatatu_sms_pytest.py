"""pytest fixtures of playmatatu-sms. pytest loads them if the package is installed.

This module is outside the package `sms`. Otherwise pytest could not start in a project with its own package `sms`.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

# No module that needs Django may be imported before pytest-django has set up Django.
if TYPE_CHECKING:
    from sms.testing import Sandbox, Texts


def _require_our_sms() -> None:
    import sms

    if find_spec("sms.outbox") is None:
        raise pytest.UsageError(
            f"The package `sms` in {sms.__file__} is not playmatatu-sms. The two cannot be used in one project."
        )


@pytest.fixture
def sms_sandbox() -> Iterator["Sandbox"]:
    """Run the DMark sandbox, a fake provider over real HTTP. See `sms.testing.sandbox`."""
    _require_our_sms()
    from sms.testing import sandbox

    with sandbox() as running:
        yield running


@pytest.fixture
def sms_texts(db: None) -> Iterator["Texts"]:
    """Collect the messages that the test sends. See `sms.testing.texts`."""
    _require_our_sms()
    from sms.testing import texts

    with texts() as sent:
        yield sent
