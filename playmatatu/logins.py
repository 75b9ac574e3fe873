"""Limit failed logins to the admin, counted in the database for all processes.

There are limits per name, per address, and per name and address together. The limit per name is the highest, so that a
stranger cannot easily lock an operator out.
"""

import logging
from datetime import timedelta

from django.utils import timezone
from django.utils.crypto import salted_hmac

from playmatatu.models import FailedLogin

logger = logging.getLogger("playmatatu.logins")

WINDOW_SECONDS = 15 * 60
PER_NAME_AND_ADDRESS = 5
PER_ADDRESS = 20
PER_NAME = 50


def begin(name: str, address: str) -> FailedLogin | None:
    """Record a login as failed before its password is checked, so that concurrent attempts count too.

    Return the record, or None if a limit is exceeded.
    """
    hashed = salted_hmac("playmatatu.logins", name.casefold(), algorithm="sha256").hexdigest()
    now = timezone.now()
    FailedLogin.objects.filter(at__lte=now - timedelta(seconds=WINDOW_SECONDS)).delete()
    login = FailedLogin.objects.create(name=hashed, address=address, at=now)
    of_name, of_address = FailedLogin.objects.filter(name=hashed), FailedLogin.objects.filter(address=address)
    if (
        of_name.filter(address=address).count() > PER_NAME_AND_ADDRESS
        or of_address.count() > PER_ADDRESS
        or of_name.count() > PER_NAME
    ):
        # A login refused by a limit is not counted. Otherwise an attacker could lock the operator out permanently.
        login.delete()
        logger.warning("playmatatu.logins_limited: too many failed logins, from %s", address or "an unknown address")
        return None
    return login


def succeeded(login: FailedLogin) -> None:
    """After a successful login, delete the failed logins with the same name and address."""
    FailedLogin.objects.filter(name=login.name, address=login.address).delete()
