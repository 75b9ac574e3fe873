import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from sms.inbound import receiving
from sms.worker import maintenance

_PROGRESS_SECONDS = 2.0


class Command(BaseCommand):
    help = "Delete old texts, and empty the words of younger ones. Texts still to be sent stay, and so do the counts."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="delete rows older than that (default 90)")
        parser.add_argument("--blank-days", type=int, help="empty texts older than that (30, or --days if less)")
        parser.add_argument("--dry-run", action="store_true", help="only say how many")

    def handle(self, *args: Any, **given: Any) -> None:
        days = given["days"]
        blank_days = given["blank_days"] if given["blank_days"] is not None else min(30, days)
        if not 0 <= blank_days <= days <= 36500:
            raise CommandError("--days must be from 0 to 36500, and --blank-days no more than --days.")
        now = timezone.now()
        old, stale = now - timedelta(days=days), now - timedelta(days=blank_days)
        if given["dry_run"]:
            deleted = maintenance.before(old).count()
            blanked = maintenance.before(stale).filter(created_at__gte=old).exclude(text="").count()
            self.stdout.write(f"Would delete {deleted} texts older than {days} days and empty {blanked} more.")
            return
        deleted = maintenance.delete(old, self._progress("deleted"))
        blanked = maintenance.blank(stale, self._progress("emptied"))
        maintenance.blank_links()
        receiving.prune(now)
        self.stdout.write(f"Deleted {deleted} texts older than {days} days, emptied {blanked} older than {blank_days}.")

    def _progress(self, did: str) -> maintenance.Progress:
        told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _PROGRESS_SECONDS:
                told = time.monotonic()
                self.stdout.write(f"{did} {done} so far")
                self.stdout.flush()

        return tell
