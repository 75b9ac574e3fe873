"""Types for the arguments of management commands, used by several commands."""

from argparse import ArgumentTypeError
from datetime import datetime, time

from django.utils import timezone
from django.utils.dateparse import parse_date


def day(text: str) -> datetime:
    """Parse a date argument. Return the start of that day in the site's time zone. Raises ArgumentTypeError."""
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no day; write it like 2026-01-31.")
    return timezone.make_aware(datetime.combine(found, time.min))
