"""Limit failed logins to the admin by user name and client address. The database counts them for all processes.

There are three limits: by name and address, by address, and by name. A single limit would either let many addresses
guess one password, or let any stranger lock an operator out.
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
    """Record a login as failed before the password is checked. Return the record, or None if a limit is exceeded.

    Recording first makes sure that concurrent attempts are counted.
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
        # A refused login does not count. Otherwise continued guessing would lock the operator out permanently.
        login.delete()
        logger.warning("playmatatu.logins_limited: too many failed logins, from %s", address or "an unknown address")
        return None
    return login


def succeeded(login: FailedLogin) -> None:
    """Delete the failed logins with the name and address of this successful login."""
    FailedLogin.objects.filter(name=login.name, address=login.address).delete()
