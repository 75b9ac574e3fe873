"""Erase personal data that is no longer needed. The rows of payments and matches are kept for accounting."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet
from django.utils import timezone

from game.models import Entry, LinkRequest
from payments.models import Callback
from playmatatu.logins import WINDOW_SECONDS
from playmatatu.models import FailedLogin

_BATCH = 1000
# Link requests older than this are deleted. A link request counts towards a limit for only one hour.
_LIMITS_WINDOW = timedelta(days=1)


def erase_addresses(before: datetime) -> int:
    """Erase the client addresses of stakes older than `before`. Also delete old link requests and failed logins.

    Return the number of rows that were changed or deleted.
    """
    erased = 0
    for keys in _batches(Entry.objects.all(), "created_at", before):
        known = Entry.objects.filter(~Q(client_address=None) | ~Q(client_site=None), pk__in=keys)
        erased += known.update(client_address=None, client_site=None)
    now = timezone.now()
    erased += LinkRequest.objects.filter(at__lt=now - _LIMITS_WINDOW).delete()[0]
    erased += FailedLogin.objects.filter(at__lt=now - timedelta(seconds=WINDOW_SECONDS)).delete()[0]
    return erased


def erase_callback_bodies(before: datetime) -> int:
    """Erase the bodies of callbacks older than `before`. Return the number of changed rows.

    The bodies contain phone numbers.
    """
    return sum(
        Callback.objects.filter(pk__in=keys).exclude(body="").update(body="")
        for keys in _batches(Callback.objects.all(), "received_at", before)
    )


def delete_sessions() -> int:
    """Delete expired login sessions of the admin. Return the number of deleted rows."""
    return Session.objects.filter(expire_date__lt=timezone.now()).delete()[0]


def _batches(rows: "QuerySet[Any]", time_field: str, before: datetime) -> Iterator[list[int]]:
    """Yield the primary keys of rows older than `before`, in batches. Keys must increase with time."""
    last = 0
    while True:
        batch = list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", time_field)[:_BATCH])
        keys = [key for key, at in batch if at < before]
        if keys:
            yield keys
        if len(keys) < len(batch) or not batch:
            return
        last = batch[-1][0]
