from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from payments import providers
from payments.ledger import start_of_day
from payments.reconciliation import differences, rebuild


class Command(BaseCommand):
    help = "Poll the provider for each payment of a period and list every difference; exit 1 if there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=start_of_day, metavar="DATE", help="first day; default: yesterday")
        parser.add_argument(
            "--rebuild", action="store_true", help="replay the journal instead; compare it with rows and ledger"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        since = options["since"] or start_of_day(str(timezone.localdate() - timedelta(days=1)))
        if providers.current() is None:
            self.stdout.write("No provider is set up: only our own books are compared.")
        found = due = 0
        for difference in rebuild(since) if options["rebuild"] else differences(since):
            found, due = found + (not difference.open), due + difference.open
            self.stdout.write(str(difference))
        if due:
            self.stdout.write(f"Refunds due: {due}. They are open work and do not count as differences.")
        if found:
            raise CommandError(f"{found} differences since {timezone.localtime(since):%Y-%m-%d}.")
        self.stdout.write(f"No difference since {timezone.localtime(since):%Y-%m-%d}.")
