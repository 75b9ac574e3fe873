from collections import Counter
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.conf import PROVIDER
from sms.dlr import polling
from sms.errors import SmsError
from sms.models import Status

_STEP = 50


class Command(BaseCommand):
    help = f"Poll {PROVIDER} for missing delivery reports on messages sent within the last day."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        age = polling.FIRST_POLL_AGE
        parser.add_argument(
            "--min-age", type=float, default=age, help=f"smallest age of a message in seconds ({age:.0f})"
        )
        parser.add_argument("--limit", type=int, default=1000, help="largest number of polls (1000)")

    def handle(self, *args: Any, **given: Any) -> None:
        counts: Counter[str] = Counter()
        left = max(0, given["limit"])
        try:
            while left > 0 and (step := polling.poll(given["min_age"], min(_STEP, left))):
                counts += step
                left -= _STEP
                if left > 0 and step.total() == _STEP:
                    self.stdout.write(f"polled for {counts.total()} so far")
                    self.stdout.flush()
        except (SmsError, ImproperlyConfigured) as error:
            raise CommandError(f"Polled for {counts.total()}, then gave up: {error}") from None
        self.stdout.write(
            f"Polled for {counts.total()}: {counts[Status.DELIVERED]} delivered, "
            f"{counts[Status.UNDELIVERED]} not delivered, {counts[Status.SENT]} still on the way."
        )
