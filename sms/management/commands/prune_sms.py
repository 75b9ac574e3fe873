import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms import clock, inbound
from sms.worker import maintenance

_PROGRESS_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Delete old messages, and erase the content of younger ones. Messages not sent yet and daily counts are kept."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="delete rows older than this (90)")
        parser.add_argument(
            "--blank-days", type=int, help="erase the content of older messages (30, or --days if less)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only print the numbers")

    def handle(self, *args: Any, **given: Any) -> None:
        days = given["days"]
        blank_days = given["blank_days"] if given["blank_days"] is not None else min(30, days)
        if not 0 <= blank_days <= days <= 36500:
            raise CommandError("--days must be from 0 to 36500, and --blank-days no more than --days.")
        now = clock.now()
        old, stale = now - timedelta(days=days), now - timedelta(days=blank_days)
        if given["dry_run"]:
            deleted = maintenance.before(old).count()
            blanked = maintenance.before(stale).filter(created_at__gte=old).exclude(text="").count()
            self.stdout.write(
                f"Would delete {deleted} messages older than {days} days and erase the content of {blanked} more."
            )
            return
        deleted = maintenance.delete(old, self._progress("deleted"))
        blanked = maintenance.blank(stale, self._progress("erased"))
        maintenance.blank_links()
        inbound.prune(now)
        self.stdout.write(
            f"Deleted {deleted} messages older than {days} days, "
            f"erased the content of {blanked} older than {blank_days}."
        )

    def _progress(self, verb: str) -> maintenance.Progress:
        printed = time.monotonic()

        def show(count: int) -> None:
            nonlocal printed
            if time.monotonic() - printed >= _PROGRESS_SECONDS:
                printed = time.monotonic()
                self.stdout.write(f"{verb} {count} so far")
                self.stdout.flush()

        return show
