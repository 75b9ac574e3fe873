from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from game.rules import results
from payments.ledger import start_of_day

_ACTOR = "close_matches"
_LONGEST_NOTE = 300


class Command(BaseCommand):
    help = (
        "Book matches from before a day as paid from another account than the provider's. Without --yes it only counts "
        "them. Nobody receives a text. You can repeat it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--before", type=start_of_day, metavar="DATE", required=True, help="first day that is left out"
        )
        parser.add_argument("--note", required=True, help="how the players were paid; kept in the journal")
        parser.add_argument("--yes", action="store_true", help="book them")

    def handle(self, *args: Any, **options: Any) -> None:
        before, note = options["before"], options["note"].strip()
        if before > timezone.now():
            raise CommandError(f"--before {timezone.localtime(before):%Y-%m-%d} lies in the future.")
        if not 0 < len(note) <= _LONGEST_NOTE:
            raise CommandError(f"--note needs 1 to {_LONGEST_NOTE} characters.")
        matches = results.to_close(before)
        found = f"{matches.count():,} matches without a result from before {timezone.localtime(before):%Y-%m-%d}"
        if not options["yes"]:
            paid = results.ugx_of(matches)
            self.stdout.write(f"{found}; their players paid {paid:,} UGX. Nothing is booked: add --yes to book them.")
            return
        closed = ugx = refused = 0
        for one in results.close(matches, by=_ACTOR, note=note):
            if one.refused:
                refused += 1
                self.stdout.write(f"match {one.session.pk} is left as it is: {one.refused}")
                continue
            closed, ugx = closed + 1, ugx + one.ugx
            if closed % 1000 == 0:
                self.stdout.write(f"{closed:,} booked")
        self.stdout.write(f"{closed:,} matches are booked as paid elsewhere: {ugx:,} UGX.")
        if refused:
            self.stdout.write(f"{refused:,} matches are left as they are.")
