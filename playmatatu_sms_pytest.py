"""pytest fixtures of playmatatu-sms, loaded automatically if the package is installed.

This module is not inside the package `sms`: a project with a package `sms` of its own could not start pytest otherwise.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

# Nothing of Django is imported before pytest-django has set it up.
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
    """The DMark sandbox over real HTTP. See `sms.testing.sandbox`."""
    _require_our_sms()
    from sms.testing import sandbox

    with sandbox() as running:
        yield running


@pytest.fixture
def sms_texts(db: None) -> Iterator["Texts"]:
    """The messages that the test sends. See `sms.testing.texts`."""
    _require_our_sms()
    from sms.testing import texts

    with texts() as sent:
        yield sent
