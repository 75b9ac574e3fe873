"""Arguments that several commands read."""

from argparse import ArgumentTypeError
from datetime import datetime, time

from django.utils import timezone
from django.utils.dateparse import parse_date


def day(text: str) -> datetime:
    """Return the start of a day of the site's time zone. Raises ArgumentTypeError."""
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no day; write it like 2026-01-31.")
    return timezone.make_aware(datetime.combine(found, time.min))
