from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.dlr import polling
from sms.errors import SmsError
from sms.models import Status

_STEP = 50


class Command(BaseCommand):
    help = "Ask DMark for delivery reports that never came, of texts sent within the last day."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--min-age", type=float, default=polling.MIN_AGE, help="seconds since it was sent (120)")
        parser.add_argument("--limit", type=int, default=1000, help="ask for at most so many (default 1000)")

    def handle(self, *args: Any, **given: Any) -> None:
        became: Counter[str] = Counter()
        left = max(0, given["limit"])
        try:
            while left > 0 and (some := polling.poll(given["min_age"], min(_STEP, left))):
                became += some
                left -= _STEP
                if left > 0 and some.total() == _STEP:
                    self.stdout.write(f"asked for {became.total()} so far")
                    self.stdout.flush()
        except SmsError as error:
            raise CommandError(f"Asked for {became.total()}, then gave up: {error}") from None
        self.stdout.write(
            f"Asked for {became.total()}: {became[Status.DELIVERED]} delivered, "
            f"{became[Status.UNDELIVERED]} not delivered, {became[Status.SENT]} still on the way."
        )
